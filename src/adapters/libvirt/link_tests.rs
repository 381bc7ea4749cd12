use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::ports::Fault;

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(20);

fn link(uri: &str, threads: usize) -> Link {
    super::super::ffi::start_event_loop().unwrap();
    Link::new(
        "hv1".parse().unwrap(),
        uri.to_owned(),
        Keepalive {
            interval: 5,
            count: 3,
        },
        threads,
    )
}

#[tokio::test]
async fn a_call_gets_a_live_connection_and_its_answer_comes_back() {
    let link = link("test:///default", 1);
    let alive = link.call(Call::reads("ask", LONG), |connection, _| {
        Ok(connection.is_alive()?)
    });
    assert!(alive.await.unwrap());
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_unavailable_and_named() {
    let link = link("qemu+unix:///system?socket=/nonexistent/libvirt-sock", 1);
    let error = link
        .call(Call::changes("change something", LONG), |_, _| Ok(()))
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable);
    assert!(
        error.message.starts_with(
            "libvirtd on hv1 (qemu+unix:///system?socket=/nonexistent/libvirt-sock) cannot be reached: "
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_that_got_no_connection_in_time_is_never_begun() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("silent");
    // It accepts nothing and answers nothing, as a hung libvirtd.
    let listener = UnixListener::bind(&socket).unwrap();
    let link = link(&format!("qemu+unix:///system?socket={}", socket.display()), 1);
    let (began, begun) = mpsc::channel();
    let error = link
        .call(Call::changes("change something", SHORT), move |_, _| {
            began.send(()).unwrap();
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert!(
        error
            .message
            .contains("cannot be reached: no connection within 0.2 s"),
        "{error}"
    );
    // Once the peer is gone, the thread ends, and with it the sender, unused.
    drop(listener);
    assert_eq!(
        begun.recv_timeout(LONG),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
}

#[tokio::test]
async fn a_change_without_an_answer_is_unknown_and_a_reading_is_not() {
    for (call, fault) in [
        (Call::changes("change something", SHORT), Fault::Unknown),
        (Call::reads("read something", SHORT), Fault::Unavailable),
    ] {
        let link = link("test:///default", 1);
        let (release, held) = mpsc::channel::<()>();
        let (told, ticket_of) = mpsc::channel();
        let error = link
            .call(call, move |_, ticket| {
                told.send(ticket.clone()).unwrap();
                held.recv().unwrap_err();
                Ok(())
            })
            .await
            .unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        assert!(
            ticket_of.recv().unwrap().abandoned(),
            "long work can see that nobody waits"
        );
        drop(release);
    }
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_the_link_allows() {
    let link = link("test:///default", 1);
    let (release, held) = mpsc::channel::<()>();
    let (told, began) = tokio::sync::oneshot::channel();
    let first = link.call(Call::changes("hold the link", LONG), move |_, _| {
        told.send(()).unwrap();
        held.recv().unwrap_err();
        Ok(())
    });
    let second = async {
        began.await.unwrap();
        let error = link
            .call(Call::changes("come second", SHORT), |_, _| Ok(()))
            .await
            .unwrap_err();
        drop(release);
        error
    };
    let (first, second) = tokio::join!(first, second);
    first.unwrap();
    assert_eq!(second.fault, Fault::Unavailable, "{second}");
    assert!(second.message.contains("kept it waiting"), "{second}");
    link.call(Call::reads("come third", LONG), |_, _| Ok(()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_sees_that_it_is_abandoned() {
    let link = link("test:///default", 1);
    let (told, began) = tokio::sync::oneshot::channel();
    let (ended, end) = tokio::sync::oneshot::channel();
    let (go_on, held) = mpsc::channel::<()>();
    {
        let call = link.call(Call::changes("be dropped", LONG), move |_, ticket| {
            told.send(()).unwrap();
            held.recv().unwrap();
            ended.send(ticket.abandoned()).unwrap();
            Ok(())
        });
        tokio::select! {
            _ = call => panic!("it was to wait"),
            began = began => began.unwrap(),
        }
    }
    go_on.send(()).unwrap();
    assert!(end.await.unwrap());
}

#[tokio::test]
async fn a_defect_in_the_work_is_unknown_and_does_not_stop_the_link() {
    let link = link("test:///default", 1);
    let error = link
        .call(Call::changes("fail", LONG), |_, _| -> Result<(), Failure> {
            panic!("a defect")
        })
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Unknown, "{error}");
    link.call(Call::reads("go on", LONG), |_, _| Ok(()))
        .await
        .unwrap();
}

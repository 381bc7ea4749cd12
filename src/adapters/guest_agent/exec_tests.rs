use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::adapters::guest_agent::answer::tests::web;

type Said = Result<Value, PortError>;

/// An agent that answers what it was told to, in order, and keeps what it was asked.
#[derive(Default)]
struct Told {
    answers: Mutex<VecDeque<Result<Value, PortError>>>,
    asked: Mutex<Vec<Value>>,
}

impl Told {
    fn new(answers: impl IntoIterator<Item = Result<Value, PortError>>) -> Self {
        Self {
            answers: Mutex::new(answers.into_iter().collect()),
            ..Self::default()
        }
    }

    fn commands(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|request| request["execute"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[async_trait]
impl AgentChannel for Told {
    async fn command(&self, _: GuestId, json: &str, _: Duration) -> Result<String, PortError> {
        assert!(json.len() <= protocol::MAX_MESSAGE, "{}", json.len());
        self.asked
            .lock()
            .unwrap()
            .push(serde_json::from_str(json).unwrap());
        let answer = self.answers.lock().unwrap().pop_front();
        answer
            .unwrap_or(Ok(json!({ "exited": false })))
            .map(|value| json!({ "return": value }).to_string())
    }
}

fn guest() -> GuestId {
    GuestId(uuid::Uuid::nil())
}

fn pid() -> Result<Value, PortError> {
    Ok(json!({ "pid": 7 }))
}

fn ended(out: &str) -> Result<Value, PortError> {
    Ok(json!({ "exited": true, "exitcode": 0, "out-data": STANDARD.encode(out) }))
}

async fn act(agent: &Told, text: &str, deadline: Duration) -> Result<String, PortError> {
    let script = Script::acting(&web(), text.to_owned());
    run(agent, guest(), &script, deadline).await?.text(guest())
}

const MINUTE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_short_script_goes_in_one_message_and_is_polled_until_it_ends() {
    let agent = Told::new([pid(), Ok(json!({ "exited": false })), ended("fine\n")]);
    assert_eq!(act(&agent, "true", MINUTE).await.unwrap(), "fine\n");
    assert_eq!(
        agent.commands(),
        ["guest-exec", "guest-exec-status", "guest-exec-status"]
    );
    let asked = agent.asked.lock().unwrap();
    assert_eq!(
        asked[0]["arguments"]["arg"],
        json!(["-s"]),
        "the script is in no process list"
    );
    assert_eq!(
        asked[0]["arguments"]["input-data"],
        json!(STANDARD.encode("true"))
    );
}

#[tokio::test]
async fn a_long_script_goes_in_pieces_into_a_private_file() {
    let text = "x".repeat(100_000);
    let count = |n: usize| Ok(json!({ "count": n, "eof": false }));
    let last = text.len() + "rm -f -- \"$0\"\n".len() - 2 * MAX_PIECE;
    let agent = Told::new([
        pid(),
        ended(""),
        Ok(json!(1000)),
        count(MAX_PIECE),
        count(MAX_PIECE),
        count(last),
        Ok(json!({})),
        pid(),
        ended("fine"),
    ]);
    assert_eq!(act(&agent, &text, MINUTE).await.unwrap(), "fine");
    let asked = agent.asked.lock().unwrap();
    let prepare = STANDARD
        .decode(asked[0]["arguments"]["input-data"].as_str().unwrap())
        .unwrap();
    assert!(
        String::from_utf8(prepare)
            .unwrap()
            .starts_with("umask 077\nmkdir -p /run/handoverd ")
    );
    let path = asked[2]["arguments"]["path"].as_str().unwrap();
    assert!(path.starts_with("/run/handoverd/web.script."), "{path}");
    let mut brought = Vec::new();
    for request in asked
        .iter()
        .filter(|request| request["execute"] == "guest-file-write")
    {
        brought.extend(
            STANDARD
                .decode(request["arguments"]["buf-b64"].as_str().unwrap())
                .unwrap(),
        );
    }
    assert_eq!(
        String::from_utf8(brought).unwrap(),
        format!("rm -f -- \"$0\"\n{text}")
    );
    assert_eq!(asked[7]["arguments"]["arg"], json!([path]));
}

#[tokio::test]
async fn a_file_that_could_not_be_written_is_closed_and_never_run() {
    let agent = Told::new([
        pid(),
        ended(""),
        Ok(json!(1000)),
        Ok(json!({ "count": 1 })),
        Ok(json!({})),
    ]);
    let error = act(&agent, &"x".repeat(50_000), MINUTE).await.unwrap_err();
    assert_eq!(error.fault, Fault::Unavailable, "{error}");
    assert_eq!(agent.commands().last().unwrap(), "guest-file-close");
}

#[tokio::test]
async fn what_is_known_of_a_failed_step_is_told() {
    let gone = || Err(PortError::refused("GenericError: PID 7 does not exist"));
    let busy = || Err(PortError::unavailable("agent busy"));
    let cases: Vec<(&str, Vec<Said>, Fault)> = vec![
        (
            "nothing was sent",
            vec![Err(PortError::unavailable("not running"))],
            Fault::Unavailable,
        ),
        (
            "the exec's answer was lost",
            vec![Err(PortError::unknown("timed out"))],
            Fault::Unknown,
        ),
        (
            "guest-exec is disabled",
            vec![Err(PortError::refused("guest-exec has been disabled"))],
            Fault::Refused,
        ),
        ("it never ended", vec![pid()], Fault::Unknown),
        ("the agent was restarted", vec![pid(), gone()], Fault::Unknown),
        (
            "the agent fell silent",
            vec![pid(), busy(), busy(), busy(), busy(), busy()],
            Fault::Unknown,
        ),
        (
            "the shell was killed",
            vec![pid(), Ok(json!({ "exited": true, "signal": 9 }))],
            Fault::Unknown,
        ),
        (
            "the shell failed",
            vec![pid(), Ok(json!({ "exited": true, "exitcode": 2 }))],
            Fault::Unknown,
        ),
        (
            "it printed too much",
            vec![pid(), ended(&"x".repeat(MAX_OUTPUT + 1))],
            Fault::Refused,
        ),
        (
            "the agent cut its output",
            vec![
                pid(),
                Ok(json!({ "exited": true, "exitcode": 0, "out-truncated": true })),
            ],
            Fault::Refused,
        ),
        (
            "nonsense instead of a pid",
            vec![Ok(json!("seven"))],
            Fault::Unknown,
        ),
    ];
    for (what, answers, fault) in cases {
        let error = act(&Told::new(answers), "true", MOMENT).await.unwrap_err();
        assert_eq!(error.fault, fault, "{what}: {error}");
    }
    let script = Script::reading(&web(), "true".to_owned());
    let error = run(&Told::new([pid()]), guest(), &script, MOMENT)
        .await
        .unwrap_err();
    assert_eq!(
        error.fault,
        Fault::Unavailable,
        "a look can be asked again: {error}"
    );
}

#[tokio::test]
async fn a_moment_of_silence_while_a_step_runs_is_waited_out() {
    let busy = || Err(PortError::unavailable("agent busy"));
    let agent = Told::new([
        pid(),
        busy(),
        busy(),
        Ok(json!({ "exited": false })),
        busy(),
        ended("fine"),
    ]);
    assert_eq!(act(&agent, "true", MINUTE).await.unwrap(), "fine");
}

#[tokio::test]
async fn a_script_that_is_too_long_is_refused_before_anything_is_sent() {
    let agent = Told::default();
    let error = act(&agent, &"x".repeat(MAX_SCRIPT + 1), MINUTE)
        .await
        .unwrap_err();
    assert_eq!(error.fault, Fault::Refused);
    assert!(agent.commands().is_empty());
}

#[test]
fn a_disabled_command_is_explained_with_the_way_out() {
    for message in [
        "Command guest-exec has been disabled",
        "CommandNotFound: The command guest-exec has not been found",
    ] {
        let error = explain_disabled(guest(), PortError::unknown(message));
        assert_eq!(error.fault, Fault::Refused);
        assert!(error.message.contains("/etc/sysconfig/qemu-ga"), "{error}");
    }
    assert_eq!(
        explain_disabled(guest(), PortError::unavailable("busy")).message,
        "busy"
    );
}

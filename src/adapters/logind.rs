//! systemd-logind, for one thing: whether this host is shutting down.

use futures_util::stream::StreamExt as _;
use tokio::sync::watch;

/// org.freedesktop.login1(5), "The Manager Object".
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login1 {
    /// The host is about to shut down (`true`), or does not after all.
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;
}

/// Tells in `goes_down` whether the host is shutting down, for as long as the system bus is there. Without a logind
/// nothing is ever told.
///
/// # Errors
/// The system bus cannot be used.
pub async fn tell_shutdown(goes_down: watch::Sender<bool>) -> zbus::Result<()> {
    let connection = zbus::Connection::system().await?;
    let logind = Login1Proxy::new(&connection).await?;
    let mut told = logind.receive_prepare_for_shutdown().await?;
    while let Some(signal) = told.next().await {
        let start = signal.args()?.start;
        tracing::warn!(start, "logind tells of a shutdown of this host");
        goes_down.send_replace(start);
    }
    Ok(())
}

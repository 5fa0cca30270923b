//! The thread that drives tokio, for everything that has sockets.

use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::StartError;

/// The running thread.
pub(super) struct Network {
    handle: tokio::runtime::Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    pub(super) fn start() -> Result<Network, StartError> {
        let fail = |source| StartError::Thread {
            what: "the network runtime",
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fail)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("network".to_owned())
            .spawn(move || {
                // Ends when the sender is used or dropped.
                let _either: Result<(), oneshot::error::RecvError> = runtime.block_on(ended);
            })
            .map_err(fail)?;
        Ok(Network {
            handle,
            end: Some(end),
            thread: Some(thread),
        })
    }

    pub(super) fn handle(&self) -> &tokio::runtime::Handle {
        &self.handle
    }

    pub(super) fn stop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the network thread ended abnormally");
        }
    }
}

//! A primary that sentinels watch over: follows it from one server to another.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::lobby::Lobby;
use super::Ground;
use crate::config::Endpoint;
use crate::connection::{Connection, Manner};
use crate::credentials::Credentials;
use crate::lane::{Lane, Note, Role};
use crate::routes::Routes;
use rate_limiter_distributed::breaker::State;

/// How often sentinels are asked while all is well: a primary that was cut off from them may not know that it is none.
const CALM: Duration = Duration::from_secs(1);

/// How often while it is not.
const ALARMED: Duration = Duration::from_millis(100);

/// How long a sentinel may take to answer.
const ANSWER: Duration = Duration::from_millis(500);

struct Watch {
    ground: Ground,
    /// Those that answered last come first.
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    lane: Option<Arc<Lane>>,
    notes: mpsc::UnboundedSender<Note>,
}

pub(super) fn explore(
    sentinels: Vec<Endpoint>,
    group: String,
    credentials: Credentials,
    ground: Ground,
) -> AbortHandle {
    let lobby = Lobby::open(&ground);
    let (notes, heard) = mpsc::unbounded_channel();
    let watch = Watch {
        ground,
        sentinels,
        group,
        credentials,
        lane: None,
        notes,
    };
    tokio::spawn(watch.run(lobby, heard)).abort_handle()
}

impl Watch {
    async fn run(mut self, lobby: Lobby, mut heard: mpsc::UnboundedReceiver<Note>) {
        let patience = self.ground.context.timeout;
        let _ = timeout(patience, self.look()).await;
        lobby.leave(self.lane.is_some());
        loop {
            let pause = if self.is_well() { CALM } else { ALARMED };
            tokio::select! {
                _ = heard.recv() => {
                    // Perhaps the one that was believed is behind: another is asked first.
                    self.sentinels.rotate_left(1);
                    sleep(ALARMED.min(pause) / 10).await;
                }
                () = sleep(pause) => {}
            }
            // What was said meanwhile was about the same.
            while heard.try_recv().is_ok() {}
            self.look().await;
        }
    }

    fn is_well(&self) -> bool {
        let closed = |lane: &Arc<Lane>| lane.state() == State::Closed;
        self.lane.as_ref().is_some_and(closed)
    }

    /// Asks one sentinel after the other, until one knows the primary.
    async fn look(&mut self) {
        let mut problem = String::from("no sentinel");
        for number in 0..self.sentinels.len() {
            match self.ask(&self.sentinels[number]).await {
                Ok(primary) => {
                    self.sentinels[..=number].rotate_right(1);
                    self.follow(primary);
                    self.ground.problem.send_replace(None);
                    return;
                }
                Err(reason) => problem = format!("{}: {reason}", self.sentinels[number]),
            }
        }
        self.ground.problem.send_replace(Some(problem));
    }

    async fn ask(&self, sentinel: &Endpoint) -> Result<Endpoint, String> {
        let manner = Manner {
            database: 0,
            ..self.ground.context.manner.clone()
        };
        let asking = async {
            let opened = Connection::open(sentinel, &manner, &self.credentials).await;
            let (connection, _) = opened.map_err(|trouble| trouble.reason().to_owned())?;
            let mut question = redis::cmd("SENTINEL");
            question.arg("get-master-addr-by-name").arg(&self.group);
            let answer = connection.ask(&question).await;
            answer.map_err(|error| error.to_string())
        };
        let answer = timeout(ANSWER, asking).await;
        match answer.map_err(|_| format!("no answer within {ANSWER:?}"))?? {
            Value::Nil => Err(format!("it does not know the group {:?}", self.group)),
            value => redis::from_redis_value::<(String, u16)>(value)
                .map(|(host, port)| Endpoint::tcp(&host, port))
                .map_err(|error| error.to_string()),
        }
    }

    fn follow(&mut self, primary: Endpoint) {
        let is_known = |lane: &Arc<Lane>| *lane.endpoint() == primary;
        if self.lane.as_ref().is_some_and(is_known) {
            return;
        }
        let role = Role {
            notes: Some(self.notes.clone()),
            home: None,
            is_named: true,
        };
        let lane = Lane::open(&self.ground.context, primary, role);
        self.ground.map.set(Routes::One(Arc::clone(&lane)));
        if self.lane.replace(lane).is_some() {
            // It may not have heard all that the last one did.
            self.ground.context.new_epoch();
        }
    }
}

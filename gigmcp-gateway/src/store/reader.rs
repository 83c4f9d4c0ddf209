//! The threads that read, and what all threads of the database have.

use std::sync::Arc;

use super::{
    Job, SqlError,
    connection::{Access, Connection},
    sqlite,
    turns::Turns,
};

/// A thread's side of its queue. Nobody waits for a thread that has ended.
pub(super) struct Queue<J>(pub(super) Arc<Turns<J>>);

impl<J> Queue<J> {
    /// Who is told of an error with the first who is. While somebody keeps the database locked, or it does not answer, each of
    /// those in line would wait for that as long again, one after the other.
    pub(super) fn with_first(&self, first: J, error: &SqlError) -> impl Iterator<Item = J> {
        let others = if error.is_late() { self.0.give_up() } else { Vec::new() };
        std::iter::once(first).chain(others)
    }
}

impl<J> Drop for Queue<J> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// A connection, and the file that it leads to.
pub(super) struct Served {
    pub(super) connection: Connection,
    pub(super) file: Option<Arc<sqlite::Identity>>,
}

impl Served {
    pub(super) fn begin(&self, access: Access) -> Result<&Connection, SqlError> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.connection.begin(access).map(|()| &self.connection)
    }
}

/// The life of a thread that reads.
pub(super) fn read_loop(served: &Served, queue: &Queue<Job>) {
    while let Some(job) = queue.0.next() {
        match served.begin(Access::Read) {
            Err(error) => {
                for job in queue.with_first(job, &error) {
                    job(Err(error.clone()))(Ok(()));
                }
            }
            Ok(connection) => {
                let finish = job(Ok(connection));
                // What was read was read, however the transaction ends.
                drop(connection.commit(false));
                finish(Ok(()));
            }
        }
    }
}

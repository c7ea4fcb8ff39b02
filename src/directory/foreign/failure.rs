//! Whose fault it is that another directory gave no answer: nobody's here.

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or does not answer in time: its or the network's fault.
    #[error("it does not answer: {0}")]
    Down(String),
    /// It answers, and the answer cannot be used: the site's queries or data have to be mended.
    #[error("its answer cannot be used: {0}")]
    Wrong(String),
}

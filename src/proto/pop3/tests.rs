//! Transcripts and laws.

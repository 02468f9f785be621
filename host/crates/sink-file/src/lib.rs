//! deltaforge-sink-file

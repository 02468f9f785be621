//! deltaforge-sink-http

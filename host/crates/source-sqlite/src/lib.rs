//! deltaforge-source-sqlite

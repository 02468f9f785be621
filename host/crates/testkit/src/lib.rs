//! deltaforge-testkit

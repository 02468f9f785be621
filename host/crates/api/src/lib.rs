//! deltaforge-api

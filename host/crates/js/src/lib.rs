//! deltaforge-js

//! The application of the end-to-end tests: a process of its own that writes a shop's database.

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    deltaforge_testkit::shop::write(&args);
}

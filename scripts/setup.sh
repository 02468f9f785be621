#!/usr/bin/env bash
# ./dev setup: installs what a fresh Debian or Ubuntu lacks. Does nothing where all of it is there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# What the build needs. mold is optional (not in every release); lld takes its place.
PACKAGES="build-essential ca-certificates clang cmake curl git libsimde-dev libssl-dev pkg-config sqlite3"

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "need root for: $* (install sudo, or run that as root)"
  fi
}

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || echo "$package"
  done
}

apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }

system_packages() {
  local missing
  if ! have apt-get; then
    note "this is not Debian or Ubuntu; install these, or what your system calls them: $PACKAGES mold"
    return 0
  fi
  # shellcheck disable=SC2086 # a list of words
  missing=$(missing_packages $PACKAGES)
  if [ -z "$missing" ] && { have mold || have ld.lld; }; then return 0; fi
  say "installing system packages:" $missing
  as_root apt-get update -qq
  # shellcheck disable=SC2086
  [ -z "$missing" ] || apt_install $missing
  have mold || apt_install mold || apt_install lld || note "neither mold nor lld can be installed: linking will be slower"
}

install_rustup() {
  local script
  script=$(mktemp)
  if curl --proto '=https' --tlsv1.2 --retry 3 --connect-timeout 20 -sSf https://sh.rustup.rs -o "$script"; then
    sh "$script" -y --quiet --no-modify-path --profile minimal --default-toolchain none
  elif have apt-get && apt_install rustup 2>/dev/null; then
    note "rustup's own site cannot be reached; using the distribution's rustup"
  else
    rm -f "$script"
    die "cannot install rustup: https://sh.rustup.rs cannot be reached and the distribution has no package of it"
  fi
  rm -f "$script"
}

rust() {
  local version
  version=$(pinned_rust)
  if use_rust; then return 0; fi
  if ! have rustup; then
    say "installing rustup (into ${CARGO_HOME:-$HOME/.cargo})"
    install_rustup
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  say "installing Rust $version"
  rustup toolchain install "$version" --profile minimal --component rustfmt --component clippy
  use_rust || die "rustup did not bring Rust $version"
}

# What plugins in JavaScript and in Python are made with; their tests build some.
guest_languages() {
  if have apt-get && { ! have node || ! have npm; }; then
    say "installing Node"
    as_root apt-get update -qq
    if have node; then apt_install npm; else apt_install nodejs npm; fi
  fi
  if ! use_node; then
    have npm || die "Node $OLDEST_NODE or newer is needed, with npm: https://nodejs.org"
    say "installing Node from its package on npm: $(node --version) is too old"
    npm install --silent --no-audit --no-fund --prefix "$TOOLS/node" node@22
    use_node || die "Node $OLDEST_NODE or newer is needed: https://nodejs.org"
  fi
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    say "installing Python's venv"
    have apt-get || die "Python 3.10 or newer is needed, with its module venv"
    as_root apt-get update -qq
    apt_install python3 python3-venv
  fi
}

GO_VERSION=1.26.8
GO_PROXY=https://proxy.golang.org

# What plugins in Go are made with, from where Go itself gets its toolchains.
go_language() {
  local arch sum zip
  use_go && return 0
  case $(uname -m) in
    x86_64) arch=amd64 sum=30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7 ;;
    aarch64) arch=arm64 sum=02b36b6787b3ac767668f630e2998df45a3b1f9ffee08d1bf3ef6487cd658d99 ;;
    *) die "Go 1.$OLDEST_GO or newer is needed: https://go.dev/dl" ;;
  esac
  say "installing Go $GO_VERSION (into $TOOLS/go)"
  zip=$(mktemp)
  curl --retry 3 --connect-timeout 20 -sSf -o "$zip" \
    "$GO_PROXY/golang.org/toolchain/@v/v0.0.1-go$GO_VERSION.linux-$arch.zip" ||
    die "$GO_PROXY cannot be reached; Go 1.$OLDEST_GO or newer is needed: https://go.dev/dl"
  echo "$sum  $zip" | sha256sum --check --quiet || die "what came from $GO_PROXY is not Go $GO_VERSION"
  rm -rf "$TOOLS/go" "$TOOLS/go.unpacked"
  python3 -m zipfile -e "$zip" "$TOOLS/go.unpacked"
  rm "$zip"
  mv "$TOOLS/go.unpacked/golang.org/toolchain@v0.0.1-go$GO_VERSION.linux-$arch" "$TOOLS/go"
  rm -r "$TOOLS/go.unpacked"
  chmod +x "$TOOLS"/go/bin/* "$TOOLS"/go/pkg/tool/*/*
  # A module's archive holds no other module: they lie in it under another name.
  mv "$TOOLS/go/src/_go.mod" "$TOOLS/go/src/go.mod"
  mv "$TOOLS/go/src/cmd/_go.mod" "$TOOLS/go/src/cmd/go.mod"
  use_go || die "Go 1.$OLDEST_GO or newer is needed: https://go.dev/dl"
}

# The tests' servers, and what they run on. Kafka comes from Maven, MySQL from Debian's newest packages, unpacked apart; once.
servers() {
  if ! have mvn || ! compgen -G '/usr/lib/jvm/*-17-*' >/dev/null && ! compgen -G '/usr/lib/jvm/*-21-*' >/dev/null; then
    have apt-get || die "Java 17 or newer and Maven are needed"
    say "installing Java and Maven"
    as_root apt-get update -qq
    apt_install openjdk-17-jre-headless maven || apt_install openjdk-21-jre-headless maven
  fi
  if ! PATH=$PATH:/usr/sbin have mariadbd || ! have mariadb || ! have patchelf; then
    have apt-get || die "MariaDB (server and client) and patchelf are needed"
    say "installing MariaDB and patchelf"
    as_root apt-get update -qq
    # Nothing of it is started: the package with the service is another one.
    apt_install mariadb-server-core mariadb-client-core patchelf
  fi
  "$ROOT/scripts/servers/kafka.sh" install
  "$ROOT/scripts/servers/mysql.sh" install
}

components() {
  cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
  cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
}

system_packages
rust
components
guest_languages
go_language
servers
"$ROOT/scripts/wasm-target.sh" setup
say "ready: $(rustc -V), $(cmake --version | head -1), wasm32-unknown-unknown, $(go version | cut -d' ' -f3), Node $(node --version), $(python3 --version)"

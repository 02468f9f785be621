#!/usr/bin/env bash
# Unpacks packages of any Debian suite, with all they depend on, into a folder of their own: the system's packages are not
# touched and nothing of theirs is run. Programs find the loader and the libraries beside them, so what was built for a
# newer system runs on this one. The folder must not be moved afterwards.
#
#   debs.sh SUITE FOLDER PACKAGE...
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ $# -ge 3 ] || die "usage: debs.sh SUITE FOLDER PACKAGE..."
suite=$1 folder=$2
shift 2
is_there() { [ "$(cat "$folder/.done" 2>/dev/null)" = "$suite $*" ]; }
is_there "$@" && exit 0
have apt-get && have dpkg-deb || die "packages can be unpacked on Debian and Ubuntu only"
have patchelf || die "patchelf is needed: apt-get install patchelf"
lock "debs-$(basename "$folder")"
is_there "$@" && exit 0
note "downloading $* of Debian $suite, once, into $folder"
rm -rf "$folder"
apt=$folder/.apt
mkdir -p "$apt"/{etc/apt.conf.d,etc/preferences.d,lists/partial,cache/archives/partial}
: >"$apt/status"
# The mirror that this machine is set up with.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m1 debian || true)}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-https://deb.debian.org/debian} $suite main" \
  >"$apt/etc/sources.list"
options=(-o "Dir::Etc=$apt/etc" -o "Dir::Etc::sourcelist=$apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o "Dir::State=$apt" -o "Dir::State::lists=$apt/lists" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
  -o Acquire::Languages=none -o APT::Install-Recommends=false -o APT::Sandbox::User=root -o Debug::NoLocking=1)
apt-get "${options[@]}" -qq update
apt-get "${options[@]}" -y -qq --download-only install "$@" >/dev/null
# Links before anything is unpacked: /bin and the like are folders of /usr.
for name in bin sbin lib lib64; do
  mkdir -p "$folder/usr/$name"
  ln -sfn "usr/$name" "$folder/$name"
done
for package in "$apt"/cache/archives/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink --no-same-owner -C "$folder"
done
rm -rf "$apt"
loader=$(ls "$folder"/usr/lib*/ld-linux-*.so.* "$folder"/usr/lib/*-linux-gnu/ld-linux-*.so.* 2>/dev/null | head -1)
libraries=$(ls -d "$folder"/usr/lib/*-linux-gnu)
for program in $(find "$folder/usr/sbin" "$folder/usr/bin" -maxdepth 1 -type f -perm -100); do
  patchelf --print-interpreter "$program" >/dev/null 2>&1 || continue
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries:$folder/usr/lib" "$program" 2>/dev/null || true
done
echo "$suite $*" >"$folder/.done"

#!/bin/sh
# Installs the program of a release: checks its SHA-256 sum and copies it to a folder of the PATH. Changes nothing else.
# usage: sh install.sh --from URL-OR-FOLDER [--to FOLDER]
#   --from  where the files of the release are: an https URL, or a folder
#   --to    default: /usr/local/bin if it is writable, otherwise ~/.local/bin
set -eu

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

from='' to=''
while [ $# -gt 0 ]; do
    case $1 in
        --from) from=${2:?--from needs a value} && shift 2 ;;
        --to) to=${2:?--to needs a value} && shift 2 ;;
        *) fail "unknown argument $1; usage: sh install.sh --from URL-OR-FOLDER [--to FOLDER]" ;;
    esac
done
[ -n "$from" ] || fail "say where the release is: --from https://… or --from FOLDER"
[ "$(uname -s)" = Linux ] || fail "there are programs for Linux only; elsewhere: cargo install --path ."
case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) fail "there is no program for $(uname -m); compile it: cargo build --release" ;;
esac
if [ -z "$to" ]; then
    if [ -w /usr/local/bin ]; then to=/usr/local/bin; else to=$HOME/.local/bin; fi
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

fetch() { # NAME
    case $from in
        https://* | http://localhost* | http://127.0.0.1*)
            if command -v curl > /dev/null; then curl -fsSL --retry 3 -o "$work/$1" "${from%/}/$1"
            else wget -q -O "$work/$1" "${from%/}/$1"; fi ;;
        http://*) fail "http would let anyone replace the program: use https" ;;
        *) cp "${from%/}/$1" "$work/$1" ;;
    esac || fail "can't get ${from%/}/$1"
}

fetch SHA256SUMS
archive=$(sed -n "s/^[0-9a-f]*  \(tricast-[0-9.]*-linux-$machine\.tar\.gz\)$/\1/p" "$work/SHA256SUMS")
[ -n "$archive" ] || fail "the release has no program for $machine"
fetch "$archive"
(cd "$work" && grep "  $archive\$" SHA256SUMS | sha256sum -c - > /dev/null) || fail "the checksum of $archive is wrong: nothing was installed"
tar -xzf "$work/$archive" -C "$work"
mkdir -p "$to"
# A rename, because the file may be running.
cp "$work/${archive%.tar.gz}/tricast" "$to/.tricast.new"
chmod 755 "$to/.tricast.new"
mv -f "$to/.tricast.new" "$to/tricast"
"$to/tricast" --version
case :$PATH: in
    *":$to:"*) ;;
    *) echo "$to is not in your PATH: start $to/tricast" ;;
esac

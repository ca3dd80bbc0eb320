#!/usr/bin/env bash
# fetch.sh OUT: systemd and what it needs, from this Debian's or Ubuntu's own packages, as OUT/layer.tar.xz: what is laid over
# the root of a machine that has none. amd64; it needs apt, dpkg-deb, tar and xz, and no root.
set -euo pipefail
mkdir -p "$1"
OUT=$(cd "$1" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/debs" "$WORK/tree" "$WORK/layer"
: > "$WORK/status"
PACKAGES="systemd systemd-sysv dbus libnss-systemd util-linux mount iproute2 e2fsprogs procps libkmod2 kmod"
# As if nothing were installed, so that all that they need is among them.
simulate=(apt-get -q -o "Dir::State::status=$WORK/status" -o APT::Install-Recommends=false --simulate install)
wanted=$("${simulate[@]}" $PACKAGES | awk '/^Inst/ {print $2}')
(cd "$WORK/debs" && apt-get -q download $wanted)

# The machine's own C library, shell and package tools stay its own.
skip='^(libc6|libc-bin|dpkg|perl-base|tar|passwd|debconf|login|libpam-.*|base-files|base-passwd|bash|coreutils|sed|grep|gcc-.*-base|tzdata)_'
for package in "$WORK"/debs/*.deb; do
  name=${package##*/}
  [[ $name =~ $skip ]] || dpkg-deb -x "$package" "$WORK/tree"
done
# One /usr, as distributions have it now.
for folder in bin sbin lib lib64; do
  [ -d "$WORK/tree/$folder" ] && [ ! -L "$WORK/tree/$folder" ] || continue
  mkdir -p "$WORK/tree/usr/$folder"
  cp -a "$WORK/tree/$folder/." "$WORK/tree/usr/$folder/"
  rm -rf "$WORK/tree/$folder"
done
rm -rf "$WORK"/tree/usr/share/{doc,man,locale,info,zoneinfo,lintian,bash-completion,zsh,perl5,polkit-1,bug} \
  "$WORK"/tree/usr/lib/systemd/{boot,catalog} "$WORK"/tree/usr/lib/udev/hwdb.d "$WORK"/tree/usr/lib/x86_64-linux-gnu/gconv
tar -C "$WORK/tree" --sort=name -cf - . | xz -6 -T2 > "$OUT/layer.tar.xz"
ls -l "$OUT/layer.tar.xz"

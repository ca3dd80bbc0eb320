# The second call: the last part.
CARRY=$1 G=${G:-/srv/go}
[ -e "$G/with-systemd" ] || { echo "a fresh machine"; exit 3; }
cp "$CARRY"/*.tar.xz* "$G/" && touch "$G/site.ready"
for _ in {1..120}; do [ ! -e /srv/out/at-boot ] || break; sleep 0.5; done
cat /srv/out/story.log

# The first call: takes all but the last part of the archive, and starts. STEPS, TWO, GROW, SECONDS_IN_ALL: see ../run.sh
CARRY=$1 G=${G:-/srv/go}
mkdir -p "$G" && cp -r "$CARRY/." "$G/" && xz -df "$G/awqdeploy.xz" && chmod 755 "$G/awqdeploy" "$G/with-systemd"
export G BENCH=$G/bench KNOWN=$G/known AWQDEPLOY=$G/awqdeploy
setsid bash "$G/bench/systemd/run.sh" < /dev/null > /dev/null 2>&1 &
[ -z "${TWO-}" ] || setsid bash "$G/bench/systemd/beside.sh" < /dev/null > /dev/null 2>&1 &
sleep 2
cat /srv/out/story.log

# poll.sh SECONDS FLAG BYTES: waits for /srv/out/FLAG, and brings back what there is under $OUT.
O=/srv/out
[ -e $O/story.log ] || { echo "a fresh machine"; exit 3; }
for ((i = 0; i < $1 * 2; i++)); do [ ! -e "$O/$2" ] && [ ! -e $O/done ] || break; sleep 0.5; done
tar -C $O --exclude caches -cJf "$OUT/out.tar.xz" .
date +%T
tail -c "${3:-5000}" $O/story.log
tail -2 $O/mem.log
cat $O/watch.log
tail -n 12 $O/*/{beside,versions}.log 2> /dev/null
ls $O

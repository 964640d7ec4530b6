# As root: gives this process groups of its own to hand on, as systemd's `Delegate=` would, becomes the account $1 and runs the rest.
set -eu
account=$1
shift
name=starling-ordinary-$$
group() { awk -F: -v wanted="$1" '{ n = split($2, names, ","); for (i = 1; i <= n; i++) if (names[i] == wanted) { print $3; exit } }' /proc/self/cgroup; }
made=
if [ -n "$(group memory)" ]; then
  for controller in memory pids cpu cpuacct; do
    folder=/sys/fs/cgroup/$controller$(group "$controller")/$name
    mkdir "$folder"
    chown "$account" "$folder"
    made="$made $folder"
  done
else
  echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control
  folder=/sys/fs/cgroup/$name
  mkdir "$folder"
  chown "$account" "$folder" "$folder/cgroup.procs" "$folder/cgroup.subtree_control" "$folder/cgroup.threads"
  made=$folder
fi
status=0
(
  for folder in $made; do sh -c 'echo $PPID > "$1"' move "$folder/cgroup.procs"; done
  exec setpriv --reuid "$account" --regid "$account" --clear-groups --inh-caps=-all "$@"
) || status=$?
for folder in $made; do
  [ ! -d "$folder/node" ] || rmdir "$folder/node"
  rmdir "$folder"
done
exit $status

# Makes this chroot the root of a mount namespace of its own and becomes what it is given: in a chroot the kernel allows no user namespaces.
# A build machine that runs everything in one is the reason; only root gets here, whom a chroot does not hold anyway.
set -eu
view=$1
shift
exec 9</
outside='
  set -eu
  view=$1
  shift
  mount -n --make-rprivate /
  root=$(readlink /proc/self/fd/9)
  mount -n --rbind -- "$root" "$root"
  cd -- "$root"
  pivot_root . ".$view"
  exec chroot . bash --norc -c "umount -l $view; exec 9<&-; exec \"\$@\"" reroot "$@"
'
# Entering the namespace again leads to its root.
exec nsenter --mount=/proc/self/ns/mnt bash --norc -c "$outside" reroot "$view" "$@"

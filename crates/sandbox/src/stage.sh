# Makes what a job sees in a mount namespace of its own, runs it, and keeps it until the node has taken the outputs.
# Standard input is a socket to the node: `started` from inside, then `ended CODE`; the node closes it when it has what it wants.
set -eu
umask 022
# Nothing that the node has open goes inside, whoever left it inheritable.
for open in /proc/self/fd/*; do
  open=${open##*/}
  [ "$open" -lt 3 ] || eval "exec $open>&-"
done
cell=$1 work=$2 owner=$3 disk=$4 files=$5 shared=$6 storage=$7 view=$8 binds=$9
shift 9
# A container or systemd may have masked parts of /proc, and then an ordinary account may mount none of its own; where there is a whole one it
# may. Only root can put one here, in this namespace alone.
mount -n -t proc proc /proc 2>/dev/null || :
say() { printf '%s\n' "$1" >&0; }
stage=$cell/stage
mount -n -t tmpfs -o mode=0755,size=1m,nosuid,nodev stage "$stage"
cd "$stage"
mkdir work tmp shared
cp -- "$cell/passwd" "$cell/group" .
chmod 0644 passwd group
number=0
while [ "$number" -lt "$binds" ]; do
  if [ -d "$1" ]; then mkdir "$number"; else : > "$number"; fi
  mount -n --rbind -- "$1" "$number"
  number=$((number + 1))
  shift
done
own=nosuid,nodev,uid=${owner%:*},gid=${owner#*:}
mount -n -t tmpfs -o "$own,mode=1777,size=$disk,nr_inodes=$files" tmp tmp
mount -n -t tmpfs -o "$own,mode=1777,size=$shared,nr_inodes=$files" shared shared
if [ "$storage" = disk ]; then
  fallocate -l "$disk" "$cell/disk"
  mkfs.ext4 -q -F -m 0 -N "$files" -O ^has_journal,^resize_inode -E "lazy_itable_init=1,nodiscard,root_owner=$owner" "$cell/disk"
  mount -n -t ext4 -o loop,nosuid,nodev,noatime,noinit_itable,errors=continue "$cell/disk" work
  # The mount alone holds it now: it is gone with the namespace, whatever happens.
  rm "$cell/disk"
  rmdir work/lost+found
else
  mount -n -t tmpfs -o "$own,mode=0755,size=$disk,nr_inodes=$files" work work
fi
sh "$cell/enter" cp -dR --preserve=mode,timestamps -- "$work/." work/
[ -L work/outputs ] || mkdir -p work/outputs
chown -hR "$owner" work
# The job's account need not be able to walk to where this lies.
mount -n --move "$stage" "$view"
cd /
code=0
# What the shell itself has to say of how that ended is not the job's.
exec 6>&2 2>/dev/null
sh "$cell/enter" "$@" 2>&6 6>&- 7>&0 8<"$cell/arguments" 9<"$cell/filter" </dev/null || code=$?
say "ended $code"
read -r _ || :

# machine.sh FOLDER COMMAND...: in a mount namespace of its own, makes the machine one with an NVIDIA GPU and
# a CUDA compiler, as far as files tell: the driver's libraries and the compiler are in FOLDER.
set -e
from=$1
shift
libraries=/usr/lib/x86_64-linux-gnu
scratch=/mnt
mount -t tmpfs -o mode=755 none "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/dev"
chmod 755 "$scratch/upper"
for name in cuda nvidia-ml; do
	cp "$from/lib$name.so.550.54.15" "$scratch/upper/"
	ln -s "lib$name.so.550.54.15" "$scratch/upper/lib$name.so.1"
done
mount -t overlay -o "lowerdir=$libraries,upperdir=$scratch/upper,workdir=$scratch/work" none "$libraries"

# A new /dev, as the nodes of the GPU are nobody else's to see.
mount --rbind /dev "$scratch/dev"
mount -t tmpfs -o mode=755 none /dev
for old in "$scratch"/dev/*; do
	new=/dev/${old##*/}
	if [ -d "$old" ] && [ ! -L "$old" ]; then
		mkdir "$new"
		mount --rbind "$old" "$new"
	else
		cp -a "$old" "$new"
	fi
done
mknod -m 666 /dev/nvidia0 c 195 0
mknod -m 666 /dev/nvidiactl c 195 255
mknod -m 666 /dev/nvidia-uvm c 510 0

mount -t tmpfs -o mode=755 none /usr/local
mkdir -p /usr/local/cuda/bin
cp "$from/nvcc" /usr/local/cuda/bin/
exec "$@"

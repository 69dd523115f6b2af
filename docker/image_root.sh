#!/usr/bin/env bash
# usage: docker/image_root.sh BUILD ROOT
# Makes ROOT, the whole file system of the image, from a build folder: the server with its plugins, the libraries that
# they need, and what tells a scanner which packages those libraries came from.
set -euo pipefail
umask 022
build=$1
root=$2

install -d "$root"/{opt/extprocd/bin,opt/extprocd/plugins,etc/extprocd,etc/ssl/certs,usr/lib,usr/share/doc,var/lib/dpkg/status.d}
ln -s usr/lib "$root/lib"
ln -s usr/lib "$root/lib64"

install -s "$build/bin/extprocd" "$root/opt/extprocd/bin"
ln -s bin/extprocd "$root/opt/extprocd/server"
for plugin in "$build"/plugins/*.so; do install -s -m 644 "$plugin" "$root/opt/extprocd/plugins"; done
install -m 644 docker/extprocd.toml "$root/etc/extprocd"

# Each under the name by which it is asked for, in the folder in which the loader looks.
mapfile -t libraries < <(ldd "$root"/opt/extprocd/bin/extprocd "$root"/opt/extprocd/plugins/*.so |
  grep -oE '/[^ :]+\.so[^ :]*' | grep -vF "$root/" | sort -u)
# Parts of the C library by the names that they had before 2.34, which a plugin may still ask for.
libc=$(printf '%s\n' "${libraries[@]}" | grep '/libc\.so\.')
for part in libdl.so.2 libpthread.so.0 libresolv.so.2 librt.so.1; do libraries+=("${libc%/*}/$part"); done
for library in "${libraries[@]}"; do
  real=$(readlink -f "$library")
  case $library in
    */ld-linux*) target=$root/usr/lib/${library##*/} ;;
    *) target=$root$(dirname "$real")/${library##*/} ;;
  esac
  install -D -m 644 "$real" "$target"
  case $library in */ld-linux*) chmod 755 "$target" ;; esac
  # dpkg knows files by the path from before /lib became a link.
  package=$(dpkg-query -S "*/$(basename "$(dirname "$real")")/${real##*/}" | head -n 1 | cut -d: -f1)
  [[ -e $root/var/lib/dpkg/status.d/$package ]] || {
    dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
    install -D -m 644 "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
  }
done

install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs"
install -m 644 /etc/os-release /etc/debian_version "$root/etc"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'extprocd:x:65532:65532:extprocd:/:/sbin/nologin' >"$root/etc/passwd"
echo 'extprocd:x:65532:' >"$root/etc/group"

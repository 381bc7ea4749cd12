# Prints what is there under the names of this placement and was not put there by handoverd; sets `foreign`.
# The folders are systemd's, in any rank: a unit file of another owner must neither be hidden nor hide ours.
check_foreign() {
  foreign=
  for name in $unit_files $unit_names; do
    for dir in /etc/systemd/system /etc/systemd/system.attached /etc/systemd/system.control \
      /run/systemd/system /run/systemd/system.attached /run/systemd/system.control /run/systemd/transient \
      /run/systemd/generator /run/systemd/generator.early /run/systemd/generator.late \
      /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
      path=$root$dir/$name
      exists "$path" || continue
      marked "$path" && continue
      [ "$dir" = /etc/systemd/system ] && nulled "$path" && continue
      [ "$dir" = /etc/systemd/system.attached ] && has "$own" "$name" && continue
      foreign=yes
      say "foreign_unit=$dir/$name"
      break
    done
  done
  if exists "$root$mount_point" && ! has "$recorded_folders" "$mount_point"; then
    foreign=yes
    say "foreign_folder=$mount_point"
  fi
  for path in $file_paths; do
    if exists "$root$path" && ! has "$recorded_files" "$path"; then
      foreign=yes
      say "foreign_file=$path"
    fi
  done
}

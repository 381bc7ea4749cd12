# Prints what is there under the names of this placement and was not put there by handoverd; sets `foreign`.
check_foreign() {
  foreign_units
  if exists "$root$mount_point" && ! has "$recorded_folders" "$mount_point"; then
    foreign=yes
    say "foreign_folder=$mount_point"
  fi
  foreign_data
  for path in $file_paths; do
    if exists "$root$path" && ! has "$recorded_files" "$path"; then
      foreign=yes
      say "foreign_file=$path"
    fi
  done
}

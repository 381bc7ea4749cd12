# udev needs a moment after a hot-plug: up to 10 seconds, or a quarter of the deadline. Without a data volume its device
# is the bundle's.
wait_device() {
  while { [ ! -e "$device" ] || [ ! -e "$data_device" ]; } && [ "$tries" -gt 0 ]; do
    tries=$((tries - 1))
    sleep 0.05 2>/dev/null || sleep 1
  done
}

# The same for a service without a data volume.
look_data() { :; }
foreign_data() { :; }
check_data_mount() { :; }

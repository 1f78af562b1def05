# address_filter UNIT
address_filter() {
  b address-filter "$1"
  t systemctl show "$1" -p LoadState -p IPAddressDeny -p IPAddressAllow
  b rc $?
}

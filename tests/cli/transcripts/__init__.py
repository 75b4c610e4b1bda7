"""What an operator types and sees, command by command, in files beside this one; `playing` plays them."""

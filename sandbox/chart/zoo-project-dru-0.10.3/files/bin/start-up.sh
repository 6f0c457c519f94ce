stand-in: placeholder of start-up.sh

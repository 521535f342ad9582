# Runs the server for the test process, and ends it when that process is gone.
#
# Arguments: the folder to remove at the end, the file for the server's output, then the command.
# Input: one line for each start. Output: "started PID" and "exited STATUS" for each run.
# The end of the input means that whoever held the other end is gone, by whatever death.

dir=$1
log=$2
shift 2
exec 3<&0

# At the very moment we are needed, nobody reads our reports any more, and a stopped server in what is now an orphaned
# process group gets us a SIGHUP.
trap '' HUP INT QUIT TERM PIPE

while read -r _ <&3; do
    (
        trap - HUP INT QUIT TERM PIPE
        exec "$@"
    ) </dev/null >>"$log" 2>&1 3<&- &
    server=$!
    # `wait` below cannot also watch the input, so another shell does.
    (
        read -r _ <&3
        kill -KILL "$server"
    ) >/dev/null 2>&1 &
    watcher=$!
    echo "started $server"
    wait "$server"
    status=$?
    kill -KILL "$watcher"
    wait "$watcher"
    echo "exited $status"
done

rm -rf "$dir"

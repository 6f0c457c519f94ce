"""Stand-in for the engine: the zookernel and zoofpm pods of chart `zoo-project-dru`.

It is not ZOO-Project: it imitates, over a unix socket, what a client of ZOO-Project DRU sees.
`python -m sandbox.engine --kubeconfig K --socket S --state DIR --ca-file CA` serves one cluster.

* `X-Sandbox-Service: <namespace>/<service>` on each request stands for the Service's address;
  the gateway sets it. Everything else comes from what is deployed in the API server: ConfigMap
  `<release>-zoo-project-config` (main.cfg, oas.cfg), Deployments `<release>-zookernel` and
  `<release>-zoofpm`, the Secrets they name, the readiness of database, broker and worker.
  A wrong value deployed is a wrong behaviour seen.
* `flavours` holds what differs between chart versions; `paths` plays Apache and `.htaccess`
  (any prefix, encoded slashes, double decoding, the WPS door); `tokens` plays the security
  filter; `processes`, `packages` and `descriptions` play deployment; `jobs`, `runner` and
  `stageout` play the worker with cwltool and S3; `api` and `app` join them.
* Images: there is no container engine. `images/<name>/` offers the commands of an image and
  goes first into the PATH of the tool; an image not offered fails the job as a cluster would.
* State is a folder per engine's volume under `--state`; it outlives a restart, except running
  jobs, which become failed.

Imitated on purpose: three-member errors, `500 Not Implemented`, 406 on /package, one extra
newline, 200 with an exception for the results of a failed job, the printf bug on `%`, ids hidden
by substring, stale package files, headers that choose the namespace.

Not proved here: uids, mounts, images, network policies, egress, Calrissian itself.
"""

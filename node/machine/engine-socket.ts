import { accessSync, constants, existsSync } from 'node:fs';

interface Look {
  uid: number;
  /** XDG_RUNTIME_DIR, which a service of systemd's has not. */
  runtimeDir: string | undefined;
  exists(path: string): boolean;
  mayUse(path: string): boolean;
}

const thisMachine = (): Look => ({
  uid: process.getuid?.() ?? 0,
  runtimeDir: process.env.XDG_RUNTIME_DIR,
  exists: existsSync,
  mayUse: (path) => {
    try {
      accessSync(path, constants.R_OK | constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
});

/** By these Docker is installed, though its socket may be away for a moment: its runs are not looked for in another engine then. */
const ofDocker = [
  '/usr/bin/dockerd',
  '/usr/sbin/dockerd',
  '/usr/local/bin/dockerd',
  '/snap/bin/dockerd',
  '/var/lib/docker',
];

/**
 * The socket of the engine on this machine, where none is named: Docker's, that of this user's rootless Docker, then Podman's, the first
 * that this user may use; one that he may not, where there is no other, so that it is said how he may. Null where there is none.
 */
export function engineSocket(
  withPodman: boolean,
  { uid, runtimeDir, exists, mayUse }: Look = thisMachine(),
): string | null {
  const own = runtimeDir || `/run/user/${uid}`;
  const dockers = ['/var/run/docker.sock', `${own}/docker.sock`];
  const podman = uid === 0 ? '/run/podman/podman.sock' : `${own}/podman/podman.sock`;
  const isPodmanDue = withPodman && !ofDocker.some(exists);
  const there = [...dockers, ...(isPodmanDue ? [podman] : [])].filter(exists);
  return there.find(mayUse) ?? there[0] ?? null;
}

import { expect, it } from 'vitest';
import { engineSocket } from '../../node/machine/engine-socket.ts';

const docker = '/var/run/docker.sock';
const rootless = '/run/user/1000/docker.sock';
const podman = '/run/user/1000/podman/podman.sock';

/** `there`: what exists; what is written with `!` may not be used. */
const found = (
  there: string[],
  { uid = 1000, runtimeDir = undefined as string | undefined, withPodman = true } = {},
) => {
  const names = there.map((name) => name.replace('!', ''));
  return engineSocket(withPodman, {
    ...{ uid, runtimeDir },
    exists: (path) => names.includes(path),
    mayUse: (path) => there.includes(path),
  });
};

it('is found where none is named: Docker, rootless Docker, Podman, the first that this user may use', () => {
  expect(found([])).toBeNull();
  expect(found([docker, rootless, podman])).toBe(docker);
  expect(found([`!${docker}`, rootless, podman])).toBe(rootless);
  expect(found([podman])).toBe(podman);
  expect(found(['/run/podman/podman.sock'], { uid: 0 })).toBe('/run/podman/podman.sock');
  expect(found(['/tmp/x/docker.sock'], { runtimeDir: '/tmp/x' })).toBe('/tmp/x/docker.sock');
  // One that may not be used is named, so that its user hears how he may.
  expect(found([`!${docker}`])).toBe(docker);
});

it('is never Podman where Docker is installed and only away, nor where a GitLab is to be hosted', () => {
  expect(found(['/usr/bin/dockerd', podman])).toBeNull();
  expect(found(['/var/lib/docker', '/run/podman/podman.sock'], { uid: 0 })).toBeNull();
  expect(found([podman], { withPodman: false })).toBeNull();
});

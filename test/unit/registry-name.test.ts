import type Docker from 'dockerode';
import { expect, it } from 'vitest';
import { ensureImage } from '../../node/executors/docker-image.ts';
import type { DockerImages } from '../../node/executors/docker-images.ts';
import type { LookUp } from '../../node/executors/registry-name.ts';
import { SilentRegistries } from '../../node/executors/silent-registries.ts';

/** What the engine says of a registry whose name it cannot find, whoever's fault that is. */
const noHost = (host: string): Error =>
  Object.assign(
    new Error(
      `(HTTP code 500) server error - Get "https://${host}/v2/": dial tcp: lookup ${host} on 127.0.0.53:53: no such host`,
    ),
    {
      statusCode: 500,
    },
  );
const images = {
  ...{ find: async () => null, ids: async () => new Set(), records: {} },
  silent: new SilentRegistries(),
} as unknown as DockerImages;

async function codeOf(
  image: string,
  known: Record<string, Awaited<ReturnType<LookUp>>>,
  gitlab = 'gitlab.example.org',
) {
  const docker = {
    pull: async (name: string) => {
      throw noHost(name.split('/')[0] as string);
    },
  } as unknown as Docker;
  const asked = ensureImage({
    ...{ docker, images, image, note: () => undefined, signal: new AbortController().signal },
    spec: { run: 'r', variables: [{ key: 'CI_SERVER_HOST', value: gitlab, file: false }] },
    lookUp: async (host) => known[host] ?? 'none',
  });
  return asked.then(
    () => 'none',
    ({ code, hint }: { code: string; hint: string }) => ({ code, hint }),
  );
}

it.each([
  [
    'a public name that nobody has, where others are found',
    'registri.example.com/a:1',
    { 'registry-1.docker.io': 'found' },
    'image-missing',
  ],
  [
    'the same with a port, and GitLab found',
    'registri.example.com:5000/a',
    { 'gitlab.example.org': 'found' },
    'image-missing',
  ],
  ['no name is found here: this machine’s name servers know nothing', 'registri.example.com/a', {}, 'registry-away'],
  ['the name servers do not answer', 'registri.example.com/a', { 'registri.example.com': 'unknown' }, 'registry-away'],
  [
    'it is found by now',
    'registry.example.com/a',
    { 'registry.example.com': 'found', 'registry-1.docker.io': 'found' },
    'registry-away',
  ],
  [
    'a name of the LAN, which another machine may find',
    'registry.lan/a',
    { 'registry-1.docker.io': 'found' },
    'registry-away',
  ],
  ['a name without a dot', 'registry:5000/a', { 'registry-1.docker.io': 'found' }, 'registry-away'],
] as const)('no such host: %s', async (_, image, known, code) => {
  expect(await codeOf(image, known)).toMatchObject({ code });
});

it('GitLab’s own name of the LAN proves no name server', async () => {
  expect(await codeOf('registri.example.com/a', { 'gitlab.lan': 'found' }, 'gitlab.lan')).toMatchObject({
    code: 'registry-away',
  });
});

it('says what to correct', async () => {
  expect(await codeOf('registri.example.com/a', { 'registry-1.docker.io': 'found' })).toMatchObject({
    hint: 'there is no host registri.example.com, and other names are found here: correct its image: or services: in the job',
  });
});

import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import Docker from 'dockerode';
import { expect, it } from 'vitest';
import { ensureImage } from '../../node/executors/docker-image.ts';
import type { DockerImages } from '../../node/executors/docker-images.ts';
import { SilentRegistries } from '../../node/executors/silent-registries.ts';

const records = { rightOf: () => 'own', begin: () => undefined, failed: () => undefined, pulled: () => undefined };
const images = {
  find: (_run: string, look: () => Promise<unknown>) => look(),
  ids: async () => new Set(),
  records,
  get silent() {
    return new SilentRegistries();
  },
} as unknown as DockerImages;

const engineSays = (statusCode: number, words: string): Error =>
  Object.assign(new Error(`(HTTP code ${statusCode}) unexpected - ${words} `), { statusCode });

interface Played {
  /** What a look at the image gives: an error, or the names under which registries have it. */
  here?: Error | string[];
  /** What a pull does with the lines of its progress. */
  pull?: (lines: PassThrough) => void;
  policies?: string[];
}

/** One question of a job for an image, at an engine whose words are given. */
async function asked(image: string, { here = engineSays(404, 'No such image'), pull, policies = [] }: Played) {
  const notes: string[] = [];
  let isPulled = false;
  const docker = {
    modem: new Docker().modem,
    getImage: () => ({
      inspect: async () => {
        if (here instanceof Error && !isPulled) throw here;
        const RepoDigests = here instanceof Error ? [] : here;
        return { Id: isPulled ? 'sha256:newer' : 'sha256:here', RepoDigests, Config: {} };
      },
    }),
    pull: async () => {
      const lines = new PassThrough();
      lines.once('end', () => {
        isPulled = true;
      });
      pull?.(lines);
      return lines;
    },
  } as unknown as Docker;
  const found = ensureImage({
    ...{ docker, images, image, note: (sentence: string) => notes.push(sentence), checkMs: 100 },
    ...{ signal: new AbortController().signal, spec: { run: 'r', variables: [], pullPolicies: policies } },
  });
  const [end] = await Promise.allSettled([found]);
  if (end.status === 'fulfilled') return { id: end.value.id, notes };
  const { code, message, hint } = end.reason as { code: string; message: string; hint: string };
  return { code, message, hint, notes };
}

const refusing =
  (error: string) =>
  (lines: PassThrough): void =>
    void lines.end(`${JSON.stringify({ error })}\n`);

it('whose name no engine takes is a slip in the job, and no fault of the machine’s', async () => {
  for (const [status, words] of [
    [400, 'invalid reference format: repository name must be lowercase'],
    [500, 'normalizing image: repository name must be lowercase'],
  ] as const)
    expect(await asked('My/Image:1', { here: engineSays(status, words) })).toMatchObject({
      code: 'image-missing',
      message: `"My/Image:1" is no name of an image: ${words}`,
      hint: 'correct its image: or services: in the job',
    });
  expect(await asked('', {})).toMatchObject({
    code: 'image-missing',
    hint: expect.stringMatching(/variables .* protected/),
  });
  expect(await asked('my/image', { here: engineSays(500, 'the disk is broken') })).toMatchObject({ code: 'no-docker' });
});

it.each([
  ['unauthorized: authentication required', /DOCKER_AUTH_CONFIG with a login for registry\.lab:5000 that may read it/],
  ['Head "http://registry.lab:5000/v2/a": no basic auth credentials', /DOCKER_AUTH_CONFIG/],
  ['pull access denied for a, repository does not exist or may require docker login', /correct its name, or give/],
  ['manifest for registry.lab:5000/a:1 not found: manifest unknown', /correct its name or tag .* registry\.lab:5000/],
  ['Get "https://registry.lab:5000/v2/": connection refused', /make its registry reachable/],
])('that a registry does not give names what is to be done: %s', async (said, fix) => {
  const { message, hint } = await asked('registry.lab:5000/a:1', { pull: refusing(said), policies: ['always'] });
  expect(message).toContain(said);
  expect(hint).toMatch(fix);
});

it('that is never to be pulled names its policy', async () => {
  const { hint } = await asked('a:1', { policies: ['never'] });
  expect(hint).toBe('allow it another pull_policy, or on this machine: docker pull a:1');
});

it('made here is asked for at no registry, under whatever other name it was pushed or came', async () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const fail = (): never => {
    throw new Error('a registry was asked');
  };
  for (const name of ['app:dev', 'docker.io/me/app'])
    expect(await asked(name, { here: [`registry.lab:5000/app@${digest}`], pull: fail })).toEqual({
      id: 'sha256:here',
      notes: [],
    });
  for (const [name, other] of [
    ['registry.lab:5000/app:dev', 'registry.lab:5000/app'],
    ['alpine:3', 'docker.io/library/alpine'],
    ['docker.io/library/alpine', 'alpine'],
  ] as const)
    expect(await asked(name, { here: [`${other}@${digest}`], pull: (lines) => void lines.end() })).toMatchObject({
      id: 'sha256:newer',
      notes: [`Pulling image ${name}`, `Pulled image ${name}`],
    });
});

it('that is newer at its registry may take its time to come; a registry that says nothing may not', async () => {
  const here = ['alpine@sha256:1'];
  const slowly = async (lines: PassThrough): Promise<void> => {
    lines.write(`${JSON.stringify({ status: 'Pulling from library/alpine', id: '3' })}\n`);
    await sleep(400);
    lines.end(`${JSON.stringify({ status: 'Status: Downloaded newer image' })}\n`);
  };
  expect(await asked('alpine:3', { here, pull: (lines) => void slowly(lines) })).toMatchObject({ id: 'sha256:newer' });
  expect(await asked('alpine:3', { here })).toEqual({
    id: 'sha256:here',
    notes: [
      'Pulling image alpine:3',
      'The registry of image alpine:3 cannot be asked (it does not answer within 0.1 s): the image that is here is used',
    ],
  });
});

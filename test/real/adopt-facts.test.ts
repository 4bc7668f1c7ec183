import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { adoptFacts } from '../../node/hosting/adopt/adopt-facts.ts';

/** What an engine says of a container and its volumes, over a socket as Docker's. */
let top: string;
let engine: Server;
const volumes: Record<string, unknown> = {};
const mounts: object[] = [];
let environment: string[] = [];
const at = (...path: string[]): string => join(top, ...path);

beforeEach(async () => {
  top = mkdtempSync(join(tmpdir(), 't-adopt-facts-'));
  for (const folder of ['config', 'data']) mkdirSync(at(folder));
  writeFileSync(at('config/gitlab.rb'), "external_url 'http://kang:8929'\n");
  mounts.length = 0;
  environment = [];
  const answers = (path: string): unknown => {
    if (path === '/containers/c0ffee/json')
      return { Image: 'sha256:aa', Config: { Env: environment, Labels: {} }, HostConfig: {}, Mounts: mounts };
    if (path.startsWith('/images/'))
      return { Id: 'sha256:aa', Config: { Env: ['PATH=/opt/gitlab/bin', 'LANG=C.UTF-8'] } };
    if (path.startsWith('/volumes/')) return volumes[path.slice('/volumes/'.length)] ?? { message: 'no such volume' };
    return path === '/version' ? {} : { Id: 'sha256:aa' };
  };
  engine = createServer((asked, answer) => answer.end(JSON.stringify(answers(asked.url ?? ''))));
  await new Promise<void>((done) => engine.listen(at('docker.sock'), done));
});
afterEach(async () => {
  await new Promise((done) => engine.close(done));
  rmSync(top, { recursive: true, force: true });
});

const look = (place = at('place')) =>
  adoptFacts(
    {
      ...{ id: 'c0ffee', name: 'gitlab', image: 'gitlab/gitlab-ce:17.5.1-ce.0', isRunning: true, status: 'running' },
      mounts: [
        { inside: '/etc/gitlab', outside: at('config') },
        { inside: '/var/opt/gitlab', outside: at('data') },
      ],
      ...{ backupPath: '/var/opt/gitlab/backups', hasObjectStorage: false, hasOtherDatabase: false },
      dataElsewhere: [],
    },
    place,
    `unix://${at('docker.sock')}`,
  );

it.each([
  ['with a device, as docker compose has it', { type: 'none', o: 'bind', device: '/srv/gitlab/data' }, 'local'],
  ['of another machine', { type: 'nfs', o: 'addr=nas', device: ':/gitlab' }, 'local'],
  ['of a driver', null, 'rclone'],
])('a volume %s is there only while its container runs', async (_, Options, Driver) => {
  volumes.data = { Driver, Options };
  volumes.config = { Driver: 'local', Options: null };
  mounts.push(
    { Type: 'volume', Name: 'data', Driver, Destination: '/var/opt/gitlab/' },
    { Type: 'volume', Name: 'config', Driver: 'local', Destination: '/etc/gitlab' },
  );
  expect((await look()).facts.details.fleeting).toEqual(['/var/opt/gitlab']);
});

it("folders, and volumes of the engine's own, stay when it ends", async () => {
  volumes.config = { Driver: 'local', Options: { o: 'size=10G' } };
  mounts.push(
    { Type: 'bind', Destination: '/var/opt/gitlab' },
    { Type: 'volume', Name: 'config', Driver: 'local', Destination: '/etc/gitlab' },
  );
  expect((await look()).facts.details.fleeting).toEqual([]);
});

it.each([
  ['git-data', '/mnt/large/git-data'],
  ['gitlab-rails/shared/artifacts', '/mnt/large/artifacts'],
  ['gitlab-rails/shared/lfs-objects', '../../../elsewhere'],
])('a link in the place of %s is seen: the copy would have the link alone', async (name, target) => {
  expect((await look()).facts.link).toBe(null);
  mkdirSync(at('data/gitlab-rails/shared'), { recursive: true });
  symlinkSync(target, at('data', name));
  expect((await look()).facts.link).toBe(at('data', name));
});

it('a place within what is copied is seen, whatever links lead to either', async () => {
  expect((await look()).facts.placeIn).toBe(null);
  expect((await look(at('data/copy'))).facts.placeIn).toBe(at('data'));
  symlinkSync(at('data'), at('elsewhere'));
  expect((await look(at('elsewhere/copy'))).facts.placeIn).toBe(at('data'));
  // As the engine names it, by a link of its owner's.
  renameSync(at('data'), at('disk'));
  symlinkSync(at('disk'), at('data'));
  expect((await look(at('disk/copy'))).facts.placeIn).toBe(at('data'));
  expect((await look(at('disk-beside'))).facts.placeIn).toBe(null);
});

it("variables beside its image's own are told by their names alone, and its configuration is none of them", async () => {
  environment = [
    'PATH=/opt/gitlab/bin',
    'LANG=de',
    'HTTPS_PROXY=http://u:secret@proxy',
    "GITLAB_OMNIBUS_CONFIG=external_url 'x'",
  ];
  expect((await look()).facts.environment).toEqual(['LANG', 'HTTPS_PROXY']);
});

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { containerOf, dataOf } from '../../node/hosting/protect/protected-container.ts';
import { omnibusContainers } from '../../node/machine/omnibus-containers.ts';

/** An engine that lists a dozen GitLabs, the newest first, as Docker does. */
const all = Array.from({ length: 12 }, (_, at) => ({
  Id: at.toString(16).repeat(64),
  Name: `/gitlab-${at}`,
  data: `/srv/gitlab-${at}/data`,
}));
const mounts = (data: string) => [
  { Destination: '/var/opt/gitlab', Source: data },
  { Destination: '/etc/gitlab', Source: `${data}/no-config` },
];
let engine: Server;
let address = '';

beforeAll(async () => {
  engine = createServer(({ url = '' }, answer) => {
    const one = all.find(({ Id }) => url.startsWith(`/containers/${Id}/`));
    const listed = all.map(({ Id, Name, data }) => ({
      ...{ Id, Names: [Name], Image: 'gitlab/gitlab-ce:17.5.1-ce.0', State: 'running', Status: 'Up' },
      Mounts: mounts(data),
    }));
    const inspected = one && {
      ...{ Id: one.Id, Name: one.Name, Config: { Image: 'gitlab/gitlab-ce:17.5.1-ce.0', Env: [] } },
      ...{ State: { Running: true, Status: 'running' }, Mounts: mounts(one.data) },
    };
    answer.end(JSON.stringify(inspected ?? listed));
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => engine.once('listening', resolve));
  address = `http://127.0.0.1:${(engine.address() as AddressInfo).port}`;
});
afterAll(() => new Promise((resolve) => engine.close(resolve)));

it('of more GitLabs than are looked at the one that is meant is always among them, by its folder or its name', async () => {
  const known = { container: 'gitlab', folder: '/srv/gitlab-11/data' };
  const byFolder = await omnibusContainers(address, (one) => dataOf(one) === known.folder);
  expect(byFolder).toHaveLength(8);
  expect(containerOf(known, byFolder)).toMatchObject({ container: { name: 'gitlab-11' } });
  const byName = await omnibusContainers(address, ({ name }) => name === 'gitlab-9');
  expect(byName.map(({ name }) => name)).toEqual(['gitlab-9', ...Array.from({ length: 7 }, (_, at) => `gitlab-${at}`)]);
});

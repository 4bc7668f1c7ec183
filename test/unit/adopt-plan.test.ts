import { describe, expect, it } from 'vitest';
import { portsIn } from '../../node/hosting/adopt/adopt-facts.ts';
import { type AdoptFacts, adoptPlan, type ContainerDetails } from '../../node/hosting/adopt/adopt-plan.ts';
import { besidesOf, foldersOf, targetOf } from '../../node/hosting/adopt/copied-folders.ts';
import { configText } from '../../node/hosting/adopt/fill-place.ts';
import { listensHttpsIn } from '../../node/hosting/gitlab-rb.ts';

const gib = 2 ** 30;
const folders = [
  { inside: '/etc/gitlab', outside: '/srv/gitlab/config' },
  { inside: '/var/opt/gitlab', outside: '/srv/gitlab/data' },
];

const details: ContainerDetails = {
  imageId: 'sha256:aa',
  namedImageId: 'sha256:aa',
  ports: [
    { inside: 80, outside: 8929, isLocalOnly: false },
    { inside: 22, outside: 2424, isLocalOnly: false },
  ],
  isHostNetwork: false,
  isRemovedAtStop: false,
  composeProject: null,
  isOfSwarm: false,
  isPodman: false,
  anonymous: [],
  fleeting: [],
};

function plan(
  more: Partial<Omit<AdoptFacts, 'container' | 'details'>> & {
    container?: Partial<AdoptFacts['container']>;
    details?: Partial<ContainerDetails>;
  } = {},
) {
  return adoptPlan({
    config: { externalUrl: 'http://kang:8929', listensHttps: null },
    ...{
      folders,
      besides: [],
      link: null,
      place: '/home/gitlab',
      placeIn: null,
      environment: [],
      dataBytes: 6 * gib,
      mostBytes: 80 * gib,
      isShared: false,
    },
    ...more,
    container: {
      ...{ name: 'gitlab', image: 'gitlab/gitlab-ce:17.5.1-ce.0', isRunning: true, status: 'running' },
      ...{ hasObjectStorage: false, hasOtherDatabase: false, dataElsewhere: [] },
      ...more.container,
    },
    details: { ...details, ...more.details },
  });
}
const states = (found: ReturnType<typeof plan>, state: string): string[] =>
  found.checks.filter((one) => one.state === state).map(({ what }) => what);

describe('a container that shall become the GitLab of the mesh', () => {
  it('keeps its ports; how long it is away is foretold', () => {
    const found = plan();
    expect(states(found, 'fail').concat(states(found, 'warn'))).toEqual([]);
    expect(found.planned).toMatchObject({
      port: 8929,
      sshPort: 2424,
      awayMs: 301_440,
      needBytes: Math.ceil(6.6 * gib),
    });
    expect(found.checks.at(-1)?.sentence).toContain('6 GiB, about 61 s, while GitLab is stopped');
  });

  it('on btrfs that it shares with its place it is away for its start alone, and needs no room twice', () => {
    expect(plan({ isShared: true }).planned).toMatchObject({ awayMs: 260_000, needBytes: 0 });
  });

  it('where it was not counted in time nobody knows for how long', () => {
    const found = plan({ dataBytes: null });
    expect([found.planned?.awayMs, states(found, 'warn')]).toEqual([null, ['copy']]);
    expect([found.planned?.needBytes, found.checks.at(-1)?.sentence]).toEqual([
      80 * gib,
      expect.stringContaining('room for all that its disk holds, 80 GiB'),
    ]);
    expect(plan({ dataBytes: null, isShared: true }).planned).toMatchObject({ needBytes: 0, awayMs: 260_000 });
  });

  it('with the port in its address, as GitLab shows it for Docker', () => {
    const ports = [{ inside: 8929, outside: 8929, isLocalOnly: false }];
    expect(plan({ details: { ports } }).planned).toMatchObject({ port: 8929, sshPort: null });
    // Its nginx listens where external_url says, and nobody at the other one.
    const both = [{ inside: 80, outside: 80, isLocalOnly: false }, ...ports];
    expect(plan({ details: { ports: both } }).planned).toMatchObject({ port: 8929 });
  });

  it.each([
    ['container', { details: { isRemovedAtStop: true } }, '--rm'],
    ['engine', { details: { isPodman: true } }, 'podman'],
    ['container', { details: { isOfSwarm: true } }, 'Swarm'],
    ['image', { details: { namedImageId: 'sha256:bb' } }, 'another image by now'],
    ['image', { details: { namedImageId: null } }, 'no image gitlab/gitlab-ce:17.5.1-ce.0 any more'],
    ['ports', { details: { ports: [] } }, 'publishes no port'],
    ['ports', { details: { ports: [{ inside: 443, outside: 443, isLocalOnly: false }] } }, 'https alone'],
    ['ports', { details: { isHostNetwork: true } }, 'own network'],
    ['database', { container: { hasOtherDatabase: true } }, "postgresql['enable'] = false"],
    ['data', { container: { dataElsewhere: ['/mnt/git'] } }, '/mnt/git'],
    ['data', { folders: folders.slice(1) }, 'no folder or volume of this machine at /etc/gitlab'],
    ['data', { place: '/srv/gitlab/data/copy', placeIn: '/srv/gitlab/data' }, 'of which it shall be the copy'],
    ['image', { container: { image: 'not a name' } }, 'no name by which'],
    ['data', { link: '/srv/gitlab/data/git-data' }, 'is a link'],
    ['volumes', { details: { fleeting: ['/var/opt/gitlab'] } }, 'there would be nothing to copy'],
    [
      'https',
      {
        config: { externalUrl: 'https://git.example.org', listensHttps: null },
        details: { ports: [...details.ports, { inside: 443, outside: 443, isLocalOnly: false }] },
      },
      'certificate of https://git.example.org',
    ],
  ] as [string, Parameters<typeof plan>[0], string][])('%s: refused with what helps: %j', (what, more, words) => {
    const found = plan(more);
    const line = found.checks.find(({ state }) => state === 'fail');
    expect([found.planned, line?.what]).toEqual([null, what]);
    expect(line?.sentence).toContain(words);
    expect(line?.fix).toBeTruthy();
  });

  it.each([
    ['compose', { details: { composeProject: 'home' } }],
    ['version', { container: { image: 'gitlab/gitlab-ce:latest' } }],
    ['volumes', { details: { anonymous: ['/var/opt/gitlab'] } }],
    ['mounts', { besides: ['/etc/localtime'] }],
    ['objects', { container: { hasObjectStorage: true } }],
    ['container', { container: { isRunning: false, status: 'exited' } }],
    ['ports', { details: { ports: [{ inside: 80, outside: 80, isLocalOnly: true }] } }],
    ['ports', { details: { ports: [...details.ports, { inside: 5050, outside: 5050, isLocalOnly: false }] } }],
  ] as [string, Parameters<typeof plan>[0]][])('%s: said, and no obstacle: %j', (what, more) => {
    const found = plan(more);
    expect([states(found, 'fail'), states(found, 'warn'), found.planned !== null]).toEqual([[], [what], true]);
  });

  it('behind a proxy that has the certificate it goes on', () => {
    const found = plan({ config: { externalUrl: 'https://git.example.org', listensHttps: false } });
    expect(states(found, 'fail')).toEqual([]);
  });
});

describe('what of it is copied where', () => {
  const mounts = [
    { inside: '/var/opt/gitlab', outside: '/srv/data' },
    { inside: '/var/opt/gitlab/git-data', outside: '/mnt/git' },
    { inside: '/etc/gitlab', outside: '/srv/config' },
    { inside: '/etc/localtime', outside: '/etc/localtime' },
  ];
  it('a mount within the data comes after them, and what is beside them is named', () => {
    expect(foldersOf({ mounts }).map(({ outside }) => outside)).toEqual(['/srv/config', '/srv/data', '/mnt/git']);
    expect(besidesOf({ mounts })).toEqual(['/etc/localtime']);
  });
  it('artifacts and packages lie beside what one snapshot holds', () => {
    const place = { config: '/p/live/config', data: '/p/live/data', bulk: '/p/bulk', logs: '/p/logs' };
    const at = (path: string) => targetOf(path, place);
    expect(at('/var/opt/gitlab/git-data')).toBe('/p/live/data/git-data');
    expect(at('/var/opt/gitlab/gitlab-rails/shared/artifacts')).toBe('/p/bulk/artifacts');
    expect(at('/etc/gitlab')).toBe('/p/live/config');
  });
  it('the environment of before comes before its gitlab.rb, and what the gate needs last', () => {
    const text = configText("external_url 'http://a'\n", "# mine\nnginx['listen_port'] = 8929\n", 'http://a');
    expect(text.split('\n')).toEqual([
      '# GITLAB_OMNIBUS_CONFIG of the container of before',
      "external_url 'http://a'",
      '# mine',
      "nginx['listen_port'] = 8929",
      expect.stringContaining('autogit-node gitlab adopt'),
      "nginx['listen_port'] = 80",
      "nginx['listen_https'] = false",
      "letsencrypt['enable'] = false",
      '',
    ]);
    const local = configText('', "nginx['listen_addresses'] = ['127.0.0.1']\nnginx['enable'] = false\n", 'http://a');
    expect(local).toMatch(/listen_addresses'\] = \['\*', '\[::\]'\] # line 1/);
    expect(local).toMatch(/nginx\['enable'\] = true # line 2/);
    expect(configText('', "external_url 'http://a/gitlab'", 'http://a')).toMatch(
      /\nexternal_url 'http:\/\/a' # line 1/,
    );
  });
});

it('ports and listen_https as the engine and gitlab.rb say them', () => {
  expect(
    portsIn({
      '80/tcp': [
        { HostIp: '0.0.0.0', HostPort: '8929' },
        { HostIp: '::', HostPort: '8929' },
      ],
      '22/tcp': [{ HostIp: '127.0.0.1', HostPort: '2424' }],
      '443/tcp': null,
      '53/udp': [{ HostIp: '', HostPort: '53' }],
    }),
  ).toEqual([
    { inside: 80, outside: 8929, isLocalOnly: false },
    { inside: 22, outside: 2424, isLocalOnly: true },
  ]);
  expect(
    listensHttpsIn("nginx['listen_https'] = true; nginx['listen_https'] = false\n# nginx['listen_https'] = true"),
  ).toBe(false);
  expect(listensHttpsIn('')).toBe(null);
});

it('variables of its container are named before anybody agrees, and what they hold is not', () => {
  const found = plan({ environment: ['TZ', 'HTTPS_PROXY'] });
  expect(found.checks.find(({ what }) => what === 'environment')).toMatchObject({
    state: 'warn',
    sentence: "TZ, HTTPS_PROXY: set for its container, and not for the mesh's",
  });
  expect(states(plan(), 'warn')).not.toContain('environment');
  const many = plan({ environment: Array.from({ length: 12 }, (_, at) => `V${at}`) });
  expect(many.checks.find(({ what }) => what === 'environment')?.sentence).toContain('V7 and 4 more');
});

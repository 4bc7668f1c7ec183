import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { noticeLines } from '../../scheduler/notices/notice-lines.ts';
import { noMemory } from '../../scheduler/notices/notice-steps.ts';
import { NoticesRig, soon, TestServer, verified } from './notices-rig.ts';

/** The room that tells people, and a server that is told. */
let rig: NoticesRig;
let server: TestServer;

beforeEach(async () => {
  rig = new NoticesRig();
  server = await new TestServer().open();
});
afterEach(async () => {
  await rig.stop();
  await server.close();
});

const disk = {
  code: 'disk-full',
  severity: 'warn',
  sentence: 'desktop-1  its disk is full',
  fix: 'on desktop-1: df -h',
} as const;
const gitlab = { code: 'gitlab-unreachable', severity: 'fail', sentence: 'GitLab does not answer', fix: null } as const;
const heardOf = (path: string) => server.heard.filter((one) => one.path === path);

describe('a word that only a later version knows', () => {
  it('is told as it stands, without a button, and the rest of the ledger stays', async () => {
    rig.outside = 'http://10.0.0.1:7118';
    for (const [kind, path] of Object.entries({ webhook: '/hook', slack: '/slack', ntfy: '/mesh' }))
      rig.add(kind, { url: `${server.url}${path}` });
    rig.add('log');
    rig.attention = [gitlab];
    const room = rig.room();
    const act = { act: 'restart-gitlab', node: 'kang' };
    const notice = { id: 'x-1', incident: 'x', state: 'worse', severity: 'grave', at: rig.at, title: 't', text: 't' };
    const to = ['webhook', 'slack', 'ntfy', 'log'];
    const out = [{ ...notice, fix: null, act, to }];
    expect(rig.change({ kind: 'notices-told', from: 0, memory: { ...noMemory, out } }).state).toBe('done');
    await rig.live(room, 15);
    await vi.waitFor(() => expect(server.heard).toHaveLength(3), soon);
    const body = (path: string) => JSON.parse(heardOf(path)[0]?.body ?? '{}');
    expect(body('/hook')).toMatchObject({ state: 'worse', severity: 'grave', actions: [] });
    expect(body('/slack').text).toBe(':warning: *t*\nt');
    expect(body('/')).toMatchObject({ topic: 'mesh', priority: 3, tags: ['warning'] });
    await vi.waitFor(() => expect(rig.logged.join('\n')).toContain('notice t'), soon);
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory?.out).toEqual([]);
    }, soon);
  });
});

describe('who was never reached', () => {
  it('is not called told: the ledger has since when each is, and begins anew with another address', async () => {
    rig.triesAgain(20, 40);
    rig.add('webhook', { url: `${server.url}/deaf` }, 'deaf');
    rig.add('webhook', { url: `${server.url}/well` }, 'well');
    server.answer = ({ path }, response) => void response.writeHead(path === '/well' ? 204 : 503).end();
    rig.attention = [gitlab];
    const room = rig.room();
    await rig.live(room, 60);
    await vi.waitFor(async () => {
      await room.look();
      expect(Object.keys(rig.ledger.notices?.memory?.heard ?? {})).toEqual(['well']);
      expect(Object.keys(rig.ledger.notices?.memory?.failing ?? {})).toEqual(['deaf']);
    }, soon);
    expect(noticeLines(rig.ledger)[0]?.sentence).toContain(', and never could be: it answered 503');
    const { version } = rig.ledger.notices?.memory ?? { version: 0 };
    await rig.live(room, 120);
    // Nothing is written for what is known.
    expect(rig.ledger.notices?.memory?.version).toBe(version);
    rig.add('webhook', { url: `${server.url}/elsewhere` }, 'well');
    expect(rig.ledger.notices?.memory?.heard).toEqual({});
  });
});

describe('whom two files name, of which one machine cannot read the other`s word', () => {
  it('is told once, and the ledger knows it of both names; another address of that server is told too', async () => {
    const same = { url: `${server.url}/same` };
    rig.add('webhook', { ...same, file: 'K' }, 'file-0123456789');
    rig.add('webhook', { ...same, file: 'D' }, 'file-9876543210');
    rig.add('webhook', { url: `${server.url}/other`, file: 'D' }, 'file-aaaaaaaaaa');
    // A person's own word is not the files'.
    rig.add('webhook', same, 'mine');
    rig.attention = [gitlab];
    await rig.live(rig.room(), 40);
    await vi.waitFor(async () => {
      await rig.rooms[0]?.look();
      expect(rig.ledger.notices?.memory?.out).toEqual([]);
      expect(Object.keys(rig.ledger.notices?.memory?.heard ?? {})).toHaveLength(4);
    }, soon);
    expect(server.heard.map(({ path }) => path).sort()).toEqual(['/other', '/same', '/same']);
  });
});

describe('a webhook', () => {
  it('is posted once, signed, and the ledger knows that it was', async () => {
    rig.add('webhook', { url: `${server.url}/hook`, secret: 'a key of its own' });
    rig.attention = [disk];
    const room = rig.room();
    await rig.live(room, 75);
    await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
    expect(verified(server.heard[0]!, Buffer.from('a key of its own'))).toEqual({
      ...{ version: 1, state: 'broken', severity: 'warn', once: false, fix: 'on desktop-1: df -h' },
      id: expect.stringMatching(/^[\w-]+$/),
      incident: expect.stringMatching(/^[\w-]+$/),
      at: expect.stringMatching(/^2027-01-15T/),
      mesh: { id: 'm', name: 'home' },
      actions: [],
      title: 'home, broken: desktop-1: its disk is full',
      text: 'desktop-1: its disk is full',
    });
    await vi.waitFor(() => expect(rig.ledger.notices?.memory?.out).toEqual([]), soon);
    await rig.live(room, 600);
    rig.attention = [];
    await rig.live(room, 120);
    await vi.waitFor(() => expect(server.heard).toHaveLength(2), soon);
    const fixed = verified(server.heard[1]!, Buffer.from('a key of its own'));
    expect(fixed).toMatchObject({
      state: 'fixed',
      fix: null,
      title: expect.stringMatching(/^home, fixed after 1\d min: desktop-1/),
    });
  });

  it('who does not answer holds up neither the look nor anybody else, is asked again, and is said to hear nothing', async () => {
    rig.triesAgain(20, 40);
    rig.add('webhook', { url: `${server.url}/deaf/T0KEN-of-0123456789` }, 'deaf');
    rig.add('webhook', { url: `${server.url}/well` }, 'well');
    rig.add('log');
    server.answer = ({ path }, response) => void response.writeHead(path === '/well' ? 204 : 503).end('go away');
    rig.attention = [gitlab];
    const room = rig.room();
    await rig.live(room, 60);
    await vi.waitFor(() => expect(heardOf('/well')).toHaveLength(1), soon);
    const failing = async (): Promise<void> => {
      await room.look();
      expect(rig.ledger.notices?.memory?.failing.deaf?.because).toBe('it answered 503');
    };
    await vi.waitFor(failing, soon);
    // The same notice each time, and to whom it was told already nothing again.
    expect(new Set(server.heard.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(heardOf('/well')).toHaveLength(1);
    expect(rig.ledger.notices?.memory?.out.map(({ to }) => to)).toEqual([['deaf']]);
    server.answer = (_heard, response) => void response.end();
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory).toMatchObject({ out: [], failing: {} });
    }, soon);
    // The address of who is told is in no log, and the ledger has it sealed alone.
    expect(rig.logged.join('\n')).toContain('notice home, broken: GitLab does not answer');
    expect(rig.logged.join('\n')).not.toContain('T0KEN');
    expect(JSON.stringify(rig.ledger)).not.toContain('T0KEN');
  });

  it('who is named anew is told at once: what kept the address of before from it counts no more', async () => {
    rig.add('webhook', { url: `${server.url}/wrong` });
    server.answer = ({ path }, response) => void response.writeHead(path === '/right' ? 204 : 503).end();
    rig.attention = [gitlab];
    const room = rig.room();
    await rig.live(room, 45);
    await vi.waitFor(() => expect(heardOf('/wrong')).toHaveLength(1), soon);
    rig.add('webhook', { url: `${server.url}/right` });
    // Sooner than the next try of what had failed.
    await vi.waitFor(
      async () => {
        await room.look();
        expect(heardOf('/right')).toHaveLength(1);
      },
      { timeout: 12_000, interval: 20 },
    );
  });

  it('what a server says that repeats the address or the secret is shown nowhere', async () => {
    rig.triesAgain(20, 40);
    rig.add('webhook', { url: `${server.url}/T0KEN-of-0123456789`, secret: 'hunter2secret' });
    const words = ['T0KEN-of-0123456789 is unknown', 'no such key: hunter2secret'];
    server.answer = (_heard, response) =>
      void response.writeHead(403).end(JSON.stringify({ error: words[server.heard.length % 2] }));
    rig.attention = [gitlab];
    const room = rig.room();
    await rig.live(room, 60);
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory?.failing.webhook?.because).toBe('it answered 403');
    }, soon);
  });

  it('a server that takes the request and never answers does not stop the room from looking', async () => {
    rig.add('webhook', { url: `${server.url}/hook` });
    const held: (() => void)[] = [];
    server.answer = (_heard, response) => void held.push(() => response.end());
    rig.attention = [gitlab];
    const room = rig.room();
    await rig.live(room, 45);
    await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
    // While it hangs, what comes is written down, and its worker asks no second time.
    rig.attention = [gitlab, disk];
    await rig.live(room, 120);
    expect(rig.ledger.notices?.memory?.out.map(({ title }) => title)).toEqual([
      'home, broken: GitLab does not answer',
      'home, broken: desktop-1: its disk is full',
    ]);
    expect(server.heard).toHaveLength(1);
    server.answer = (_heard, response) => void response.end();
    for (const release of held) release();
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory?.out).toEqual([]);
    }, soon);
    expect(server.heard).toHaveLength(2);
  });
});

describe('the leader', () => {
  it('that dies before anybody heard it: the next one says it, with the same id', async () => {
    const id = (): string | undefined => rig.ledger.notices?.memory?.out[0]?.id;
    rig.add('webhook', { url: `${server.url}/hook` });
    server.answer = () => {};
    rig.attention = [gitlab];
    const first = rig.room('a');
    await rig.live(first, 45);
    await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
    const told = id();
    expect(told).toBeDefined();
    // It dies: what it was about to write down is written by nobody.
    rig.leader = 'b';
    await first.stop();
    server.answer = (_heard, response) => void response.end();
    const second = rig.room('b');
    await rig.live(second, 90);
    await vi.waitFor(() => expect(server.heard).toHaveLength(2), soon);
    expect(server.heard.map(({ headers }) => headers['webhook-id'])).toEqual([told, told]);
    await vi.waitFor(async () => {
      await second.look();
      expect(rig.ledger.notices?.memory?.out).toEqual([]);
    }, soon);
    await rig.live(second, 300);
    expect(server.heard).toHaveLength(2);
  });

  it('says nothing that the ledger does not have; who does not lead neither looks nor speaks', async () => {
    rig.add('webhook', { url: `${server.url}/hook` });
    rig.attention = [gitlab];
    const idle = rig.room('b');
    rig.answersChanges = false;
    const room = rig.room('a');
    await rig.live(room, 120);
    await rig.live(idle, 120);
    expect(server.heard).toEqual([]);
    rig.answersChanges = true;
    await rig.live(room, 15);
    await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
  });
});

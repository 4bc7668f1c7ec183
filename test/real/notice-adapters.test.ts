import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { noMemory } from '../../scheduler/notices/notice-steps.ts';
import { noticeTimings } from '../../scheduler/notices/notice-timings.ts';
import { MailDouble } from './mail-double.ts';
import { type Heard, NoticesRig, soon, TestServer } from './notices-rig.ts';

/** Each way in which people are told, against its real server, or one that refuses what the real one refuses. */
let rig: NoticesRig;
let server: TestServer;
const disk = {
  code: 'disk-full',
  severity: 'warn',
  sentence: 'desktop-1  its disk is <full> & more',
  fix: 'df -h',
} as const;

beforeEach(async () => {
  rig = new NoticesRig();
  server = await new TestServer().open();
});
afterEach(async () => {
  await rig.stop();
  await server.close();
});

/** Looks until it was told, and the ledger knows that. */
async function toldAll(): Promise<void> {
  const room = rig.rooms[0] ?? rig.room();
  await rig.live(room, 75);
  await vi.waitFor(async () => {
    await room.look();
    expect(rig.ledger.notices?.memory?.open.length).toBeGreaterThan(0);
    expect(rig.ledger.notices?.memory?.out).toEqual([]);
  }, soon);
}

describe('ntfy', () => {
  /** As its server takes JSON: at the root alone, known fields of known types, three actions at most, whoever may write there. */
  function ntfy({ method, path, headers, body }: Heard): number {
    if (method !== 'POST' || path !== '/') return 404;
    if (headers.authorization !== 'Bearer tk_secret') return 403;
    const said = JSON.parse(body) as Record<string, unknown>;
    const { topic, title, message, priority, tags, actions = [], ...unknown } = said;
    if (Object.keys(unknown).length > 0) return 400;
    if (!/^[-_A-Za-z0-9]{1,64}$/.test(String(topic)) || typeof title !== 'string') return 400;
    if (typeof message !== 'string' || Buffer.byteLength(message) > 4096) return 400;
    if (![1, 2, 3, 4, 5].includes(priority as number) || !Array.isArray(tags)) return 400;
    const known = ['action', 'label', 'url', 'method', 'clear'];
    for (const action of actions as Record<string, unknown>[])
      if (action.action !== 'http' || Object.keys(action).some((key) => !known.includes(key))) return 400;
    return (actions as unknown[]).length > 3 ? 400 : 200;
  }

  it('has it with its priority, and a button that lets a machine in, once', async () => {
    server.answer = (heard, response) => void response.writeHead(ntfy(heard)).end('{}');
    rig.add('ntfy', { url: `${server.url}/mesh-topic`, secret: 'tk_secret' });
    rig.attention = [
      {
        code: 'machine-waiting',
        severity: 'info',
        sentence: 'attic waits to be let in',
        fix: 'autogit-node approve attic',
      },
    ];
    rig.waiting = [{ node: 'attic', id: 'A', address: '', words: 'a-b-c-d', since: '' }];
    rig.outside = 'http://192.168.1.10:7118';
    await toldAll();
    const said = JSON.parse(server.heard[0]!.body) as { actions: { url: string; label: string }[] };
    expect(said).toMatchObject({
      ...{ topic: 'mesh-topic', title: 'home: attic waits to be let in', priority: 3, tags: ['question'] },
      message: 'attic waits to be let in\n-> autogit-node approve attic',
      actions: [{ action: 'http', label: 'Let it in', method: 'POST', clear: true }],
    });
    const path = new URL(said.actions[0]!.url).pathname;
    const [door] = rig.paths;
    expect([door?.path, door?.methods, door?.role]).toEqual(['/n/', ['POST'], 'anybody']);
    const press = async (at: string): Promise<unknown> =>
      door!.answer({ path: at, method: 'POST' } as Parameters<NonNullable<typeof door>['answer']>[0]);
    // What was changed, is too old, or was used does nothing.
    await expect(press(path.replace(/\.(.)/, (_all, one: string) => `.${one === 'A' ? 'B' : 'A'}`))).rejects.toThrow(
      'none of this agent',
    );
    await expect(press('/n/')).rejects.toThrow('none of this agent');
    expect(rig.performed).toEqual([]);
    expect(await press(path)).toMatchObject({ status: 200, body: '{"said":"it is done"}' });
    await expect(press(path)).rejects.toThrow('used already');
    expect(rig.performed).toEqual([{ act: 'approve', node: 'attic', words: 'a-b-c-d' }]);
  });

  it("has a button that gives another machine's GPU back: a link to that one, and none where it does not answer", async () => {
    server.answer = (heard, response) => void response.writeHead(ntfy(heard)).end('{}');
    rig.add('ntfy', { url: `${server.url}/t`, secret: 'tk_secret' });
    rig.attention = [{ code: 'gpu-paused', severity: 'info', sentence: 'desktop-1  no new GPU work', fix: null }];
    rig.jobsWaiting = 1;
    rig.outside = 'http://192.168.1.10:7118';
    rig.elsewhere = 'http://192.168.1.11:7118';
    await rig.live(rig.room(), 1_860);
    await vi.waitFor(() => expect(server.heard).toHaveLength(1), soon);
    expect(JSON.parse(server.heard[0]!.body)).toMatchObject({
      actions: [{ label: 'Give the GPU back', url: 'http://192.168.1.11:7118/n/desktop-1', method: 'POST' }],
    });
    rig.elsewhere = null;
    rig.ledger = { ...rig.ledger, notices: { ...rig.ledger.notices!, memory: noMemory } };
    await rig.live(rig.room(), 1_860);
    await vi.waitFor(() => expect(server.heard).toHaveLength(2), soon);
    expect(server.heard[1]?.body).not.toContain('actions');
  });

  it('has no button where nobody reaches the page, and none that this machine cannot do; an old link does nothing', async () => {
    server.answer = (heard, response) => void response.writeHead(ntfy(heard)).end('{}');
    rig.add('ntfy', { url: `${server.url}/t`, secret: 'tk_secret' });
    rig.attention = [disk];
    await toldAll();
    expect(server.heard[0]?.body).not.toContain('actions');
    expect(JSON.parse(server.heard[0]!.body)).toMatchObject({ priority: 3, tags: ['warning'] });
  });
});

describe('slack', () => {
  it('has text without control characters of its own, and is told at an address that is a secret', async () => {
    server.answer = ({ method, path, headers, body }, response) => {
      const isKnown = path === '/services/T0/B0/s3cret' && method === 'POST';
      const text =
        isKnown && headers['content-type'] === 'application/json'
          ? (JSON.parse(body) as { text?: unknown }).text
          : null;
      if (!isKnown) response.writeHead(404).end('no_service');
      else if (typeof text !== 'string' || text.trim() === '') response.writeHead(400).end('no_text');
      else if (/<(?!@|#|!|http)/.test(text)) response.writeHead(400).end('invalid_payload');
      else response.end('ok');
    };
    rig.add('slack', { url: `${server.url}/services/T0/B0/s3cret` });
    rig.attention = [disk];
    await toldAll();
    expect((JSON.parse(server.heard[0]!.body) as { text: string }).text.split('\n')).toEqual([
      ':rotating_light: *home, broken: desktop-1: its disk is &lt;full&gt; &amp; more*',
      'desktop-1: its disk is &lt;full&gt; &amp; more',
      '`df -h`',
    ]);
    expect(rig.ledger.notices?.targets.slack?.shown).toBe(`${server.url}/…`);
  });

  it('what others chose calls nobody, in Mattermost neither', async () => {
    server.answer = (_heard, response) => void response.end('ok');
    rig.add('slack', { url: `${server.url}/hooks/s3cret` });
    rig.attention = [{ ...disk, sentence: 'desktop-1  "<!channel> @all @Here" fits nowhere; @allen' }];
    await toldAll();
    const { text } = JSON.parse(server.heard[0]!.body) as { text: string };
    expect(text).toContain('; @allen');
    expect(text).not.toMatch(/<|@(?:all|channel|here)\b/i);
  });

  it('a webhook that was removed is said in its own word, without the address', async () => {
    rig.triesAgain(20, 40);
    server.answer = (_heard, response) => void response.writeHead(404).end('no_service');
    rig.add('slack', { url: `${server.url}/services/s3cret` });
    rig.attention = [disk];
    const room = rig.room();
    await rig.live(room, 75);
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory?.failing.slack?.because).toBe('it answered 404: no_service');
    }, soon);
  });
});

describe('a heartbeat', () => {
  it('is sent by who leads alone, at its pace, to healthchecks as it is and to Uptime Kuma in words; notices are not', async () => {
    server.answer = ({ method, path }, response) =>
      void response
        .writeHead(method === 'GET' && /^\/(ping\/uuid|api\/push\/tok\?status=up&msg=well)$/.test(path) ? 200 : 404)
        .end('OK');
    rig.add('heartbeat', { url: `${server.url}/ping/uuid` });
    rig.add('heartbeat', { url: `${server.url}/api/push/tok?status=down` }, 'kuma');
    rig.attention = [disk];
    await rig.live(rig.room('b'), 60);
    expect(server.heard).toEqual([]);
    const room = rig.room('a');
    const from = performance.now();
    // Looks without end within a minute: one beat each.
    await rig.live(room, 600);
    await vi.waitFor(() => expect(server.heard.length).toBeGreaterThanOrEqual(2), soon);
    await rig.live(room, 600);
    const paths = server.heard.map(({ path }) => path);
    expect([...new Set(paths)].sort()).toEqual(['/api/push/tok?status=up&msg=well', '/ping/uuid']);
    // By this machine's own clock, which a test does not set.
    const minutes = 1 + Math.floor((performance.now() - from) / noticeTimings.beatMs);
    expect(paths.length).toBeLessThanOrEqual(2 * minutes);
    // That it is heard is written down, once; no notice is.
    expect(rig.ledger.notices?.memory ?? { version: 1, open: [], out: [] }).toMatchObject({
      version: 1,
      open: [],
      out: [],
    });
  });
});

describe('mail', () => {
  it('goes to one person, with one Message-ID however often it is sent', async () => {
    const mail = await new MailDouble('me@home.lan', { user: 'mesh', pass: 'pa55' }).open();
    try {
      const add = (pass: string): void =>
        rig.add('mail', {
          url: `smtp://mesh@127.0.0.1:${mail.port}`,
          secret: pass,
          more: { to: 'me@home.lan', from: 'mesh@home.lan' },
        });
      rig.triesAgain(20, 40);
      add('wrong');
      rig.attention = [disk];
      const room = rig.room();
      await rig.live(room, 75);
      await vi.waitFor(async () => {
        await room.look();
        expect(rig.ledger.notices?.memory?.failing.mail?.because).toBe('the server answered 535 (EAUTH)');
      }, soon);
      const id = rig.ledger.notices?.memory?.out[0]?.id;
      expect(mail.letters).toEqual([]);
      add('pa55');
      await toldAll();
      const [letter] = mail.letters;
      expect([letter?.from, letter?.to]).toEqual(['mesh@home.lan', ['me@home.lan']]);
      expect(letter?.text).toContain(`Message-ID: <${id}@m.autogit-node>`);
      expect(letter?.text).toMatch(/^Subject: home, broken: desktop-1: its disk is/m);
      expect(letter?.text).toContain('df -h');
      expect(rig.ledger.notices?.targets.mail?.shown).toBe(`smtp://127.0.0.1:${mail.port} to me@home.lan`);
    } finally {
      await mail.close();
    }
  });

  it('a password never goes to a server without TLS that is not this machine, nor to a receiver that is none', async () => {
    const mail = await new MailDouble('me@home.lan').open();
    try {
      const { sendMail } = await import('../../node/notices/mail-sender.ts');
      const { testNotice } = await import('../../node/notices/test-notice.ts');
      const context = {
        ...{ mesh: { id: 'm', name: 'home' }, status: null, linkOf: async () => null },
        signal: new AbortController().signal,
      };
      const way = { url: `smtp://127.0.0.1:${mail.port}/`, to: 'you@home.lan' };
      await expect(sendMail(testNotice('home', 'kang', 0), way, context)).rejects.toThrow(
        'the server answered 550 (EENVELOPE)',
      );
      // 127.0.0.1 by a name that is not known for this machine.
      const named = { url: `smtp://mesh@0.0.0.0:${mail.port}/`, secret: 'pa55', to: 'me@home.lan' };
      await expect(sendMail(testNotice('home', 'kang', 0), named, context)).rejects.toThrow(
        /ETLS|STARTTLS|503|answered/,
      );
      expect(mail.lines.join('\n')).not.toMatch(/AUTH/);
      expect(mail.letters).toEqual([]);
    } finally {
      await mail.close();
    }
  });
});

describe('Home Assistant by mosquitto', () => {
  let dir: string;
  let broker: ChildProcess;
  let port: number;
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'autogit-notices-'));
    const probe = createServer().listen(0, '127.0.0.1');
    await once(probe, 'listening');
    port = (probe.address() as AddressInfo).port;
    await new Promise((resolve) => probe.close(resolve));
    const bin = (name: string): string => name;
    const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
    execFileSync(bin('mosquitto_passwd'), ['-c', '-b', join(dir, 'users'), 'mesh', 'pa55'], { env, stdio: 'ignore' });
    writeFileSync(
      join(dir, 'conf'),
      `listener ${port} 127.0.0.1\nallow_anonymous false\npassword_file ${join(dir, 'users')}\nuser root\npersistence false\n`,
    );
    broker = spawn(bin('mosquitto'), ['-c', join(dir, 'conf')], { env, stdio: 'ignore' });
  });
  afterEach(async () => {
    const isThere = broker.exitCode === null && broker.signalCode === null;
    const ended = isThere ? once(broker, 'exit') : null;
    broker.kill();
    await ended;
    rmSync(dir, { recursive: true, force: true });
  });
  const reader = () =>
    connectAsync(`mqtt://127.0.0.1:${port}`, { username: 'mesh', password: 'pa55', reconnectPeriod: 200 });

  it('is told what there is (retained), how it is, and each notice once', async () => {
    rig.triesAgain(50, 100);
    const listener = await vi.waitFor(reader, soon);
    const heard: { topic: string; text: string; retain: boolean }[] = [];
    listener.on(
      'message',
      (topic, payload, { retain }) => void heard.push({ topic, text: payload.toString(), retain }),
    );
    await listener.subscribeAsync('autogit/#', { qos: 1 });
    rig.add('homeassistant', { url: `mqtt://mesh@127.0.0.1:${port}`, secret: 'pa55' });
    rig.attention = [disk];
    await toldAll();
    await vi.waitFor(
      () => expect(heard.filter(({ topic }) => topic === 'autogit/autogit_m/notice')).toHaveLength(1),
      soon,
    );
    const notice = heard.find(({ topic }) => topic === 'autogit/autogit_m/notice');
    expect(JSON.parse(notice!.text)).toMatchObject({
      event_type: 'broken',
      fix: 'df -h',
      title: expect.stringContaining('desktop-1'),
    });
    await listener.endAsync();
    // Who comes later finds what is there, and no old notice.
    const later = await reader();
    const found = new Map<string, string>();
    later.on('message', (topic, payload) => void found.set(topic, payload.toString()));
    await later.subscribeAsync(['homeassistant/#', 'autogit/#'], { qos: 1 });
    await vi.waitFor(() => expect(found.size).toBe(13), soon);
    expect(found.get('autogit/autogit_m/problem')).toBe('ON');
    expect(found.get('autogit/autogit_m/leader')).toBe('kang');
    expect(found.has('autogit/autogit_m/notice')).toBe(false);
    for (const [topic, text] of found) {
      if (!topic.startsWith('homeassistant/')) continue;
      const [, component, , key] = topic.split('/');
      const config = JSON.parse(text) as Record<string, unknown>;
      expect(config).toMatchObject({
        ...{ unique_id: `autogit_m_${key}`, state_topic: `autogit/autogit_m/${key}` },
        device: { identifiers: ['autogit_m'], name: 'autogit-node home' },
      });
      if (component === 'event') expect(config.event_types).toContain('fixed');
      else expect(config.expire_after).toBe(300);
    }
    await later.endAsync();
  });

  it('with a wrong password is not told, in words without it', async () => {
    rig.triesAgain(50, 100);
    await (await vi.waitFor(reader, soon)).endAsync();
    rig.add('homeassistant', { url: `mqtt://mesh@127.0.0.1:${port}`, secret: 'wr0ng' });
    rig.attention = [disk];
    const room = rig.room();
    await rig.live(room, 75);
    await vi.waitFor(async () => {
      await room.look();
      expect(rig.ledger.notices?.memory?.failing.homeassistant?.because).toMatch(
        /^the broker: .*(?:authori[sz]ed|refused)/i,
      );
    }, soon);
    expect(JSON.stringify(rig.ledger.notices?.memory)).not.toContain('wr0ng');
  });
});

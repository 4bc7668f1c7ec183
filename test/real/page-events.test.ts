import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { TimelineEvent } from '../../protocol/history.ts';
import { type In, PageRig } from './page-rig.ts';

let rig: PageRig;
const open: ClientRequest[] = [];
beforeEach(async () => {
  rig = await new PageRig().open();
});
afterEach(async () => {
  for (const one of open.splice(0)) one.destroy();
  await rig.close();
});

interface Stream {
  status: number;
  answer: IncomingMessage;
  events: { event: string; data: unknown }[];
  isOver: boolean;
}

/** A browser's line for events. */
function watch({ place, cookie }: In): Promise<Stream> {
  return new Promise((resolve, reject) => {
    const headers = { cookie, accept: 'text/event-stream' };
    const sent = request({ host: '127.0.0.1', port: rig.port, path: `${place}/api/events`, headers, agent: false });
    open.push(sent);
    sent.on('error', reject);
    sent.once('response', (answer) => {
      const stream: Stream = { status: answer.statusCode ?? 0, answer, events: [], isOver: false };
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part: string) => {
        const parts = (text + part).split('\n\n');
        text = parts.pop() as string;
        for (const one of parts) {
          const [, event, data] = /^event: (\w+)\ndata: (.*)$/.exec(one) ?? [];
          if (event !== undefined) stream.events.push({ event, data: JSON.parse(data as string) });
        }
      });
      answer.on('error', () => {});
      answer.on('close', () => {
        stream.isOver = true;
      });
      resolve(stream);
    });
    sent.end();
  });
}

const waitingIn = ({ events }: Stream): unknown =>
  (events.findLast(({ event }) => event === 'status')?.data as { queue: { waiting: number } } | undefined)?.queue
    .waiting;
const patient = { timeout: 30_000, interval: 20 };

describe('the page’s events', () => {
  it('tell each who watches what changed, and nothing while nothing does', async () => {
    const one = await rig.enter('viewer');
    const streams = [await watch(one), await watch(one)];
    await vi.waitFor(() => expect(streams.map(waitingIn)).toEqual([0, 0]), patient);
    await vi.waitFor(
      () => expect(streams.every(({ events }) => events.some(({ event }) => event === 'jobs'))).toBe(true),
      patient,
    );
    rig.api.queue = 7;
    await vi.waitFor(() => expect(streams.map(waitingIn)).toEqual([7, 7]), patient);
    const told = streams.map(({ events }) => events.filter(({ event }) => event === 'status').length);
    // What was told last is told to those who come later, at once, and is not told anew to the others: it only ages.
    const late = await watch(one);
    await vi.waitFor(() => expect(waitingIn(late)).toBe(7), patient);
    const looks = rig.api.looks;
    await vi.waitFor(() => expect(rig.api.looks).toBeGreaterThan(looks + 3), patient);
    expect(streams.map(({ events }) => events.filter(({ event }) => event === 'status').length)).toEqual(told);
  });

  it('tell what happens, the newest of it whole', async () => {
    const event = (id: number): TimelineEvent => ({
      ...{
        id: String(id).padStart(16, '0'),
        at: '2026-11-30T05:00:00Z',
        kind: 'election',
        severity: 'info',
        node: 'kang',
      },
      ...{ sentence: `kang leads for the ${id}. time`, because: null },
    });
    rig.api.events = [event(1), event(2)];
    const one = await rig.enter('viewer');
    const streams = [await watch(one)];
    const told = (from: Stream): string[] | undefined =>
      (
        from.events.findLast(({ event }) => event === 'timeline')?.data as { events: TimelineEvent[] } | undefined
      )?.events.map(({ id }) => id.replace(/^0+/, ''));
    await vi.waitFor(() => expect(streams.map(told)).toEqual([['1', '2']]), patient);
    rig.api.events = [...rig.api.events, event(3)];
    await vi.waitFor(() => expect(streams.map(told)).toEqual([['1', '2', '3']]), patient);
    streams.push(await watch(one));
    await vi.waitFor(
      () =>
        expect(streams.map(told)).toEqual([
          ['1', '2', '3'],
          ['1', '2', '3'],
        ]),
      patient,
    );
  });

  it('go on for who comes again while a leader that died is still asked for the jobs', async () => {
    const one = await rig.enter('viewer');
    let answer = (): void => {};
    const jobs = vi.spyOn(rig.api, 'jobs').mockImplementation(
      () =>
        new Promise((resolve) => {
          answer = () => resolve([]);
        }),
    );
    await watch(one);
    await vi.waitFor(() => expect(jobs).toHaveBeenCalled(), patient);
    for (const old of open.splice(0)) old.destroy();
    // Longer than it takes to see that nobody watches any more.
    await sleep(1_500);
    const again = await watch(one);
    rig.api.queue = 9;
    await vi.waitFor(() => expect(waitingIn(again)).toBe(9), { ...patient, timeout: 10_000 });
    answer();
  });

  it('cost nothing while nobody watches', async () => {
    const stream = await watch(await rig.enter('viewer'));
    await vi.waitFor(() => expect(waitingIn(stream)).toBe(0), patient);
    for (const one of open.splice(0)) one.destroy();
    await vi.waitFor(async () => {
      const looks = rig.api.looks;
      await sleep(1_500);
      expect(rig.api.looks).toBe(looks);
    }, patient);
  });

  it('a reader that does not read holds nobody up, and has the newest when he reads on', async () => {
    const one = await rig.enter('viewer');
    const [slow, quick] = [await watch(one), await watch(one)];
    await vi.waitFor(() => expect(waitingIn(slow)).toBe(0), patient);
    slow.answer.pause();
    // Each is large: what a connection buffers is full long before the last of them.
    rig.api.gitlab = { url: `http://${'x'.repeat(400_000)}` };
    for (let round = 1; round <= 40; round++) {
      rig.api.queue = round;
      await vi.waitFor(() => expect(waitingIn(quick)).toBe(round), patient);
    }
    slow.answer.resume();
    await vi.waitFor(() => expect(waitingIn(slow)).toBe(40), patient);
    expect(slow.events.filter(({ event }) => event === 'status').length).toBeLessThan(40);
  });

  it('end when their session does, and are few of one session', async () => {
    const [one, other] = [await rig.enter('viewer'), await rig.enter('viewer')];
    const streams = await Promise.all(Array.from({ length: 8 }, () => watch(one)));
    expect(streams.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect((await watch(one)).status).toBe(429);
    const ofOther = await watch(other);
    expect(ofOther.status).toBe(200);
    await rig.page.pageKeyRemove('page-1');
    await vi.waitFor(() => expect(streams.every(({ isOver }) => isOver)).toBe(true), patient);
    expect((await watch(one)).status).toBe(401);
    expect(ofOther.isOver).toBe(false);
  });

  it('what waits for news is answered at once when its session or key is put out, and with nothing', async () => {
    const one = await rig.enter('viewer');
    const { key, name } = await rig.page.pageKey('viewer', null);
    const byKey = { headers: { authorization: `Bearer ${key}` } };
    const tag = String((await rig.get(one, '/api/status')).headers.etag).replaceAll('"', '');
    const began = performance.now();
    const waiting = [
      rig.get(one, `/api/status?wait=30000&tag=${tag}`),
      rig.get(
        one,
        `/api/settings?wait=30000&tag=${String((await rig.get(one, '/api/settings')).headers.etag).replaceAll('"', '')}`,
      ),
      rig.ask(`/api/status?wait=30000&tag=${tag}`, byKey),
    ];
    const looks = rig.api.looks;
    await vi.waitFor(() => expect(rig.api.looks).toBeGreaterThan(looks + 3), patient);
    await rig.page.pageKeyRemove('page-1');
    await rig.page.pageKeyRemove(name);
    const said = await Promise.all(waiting);
    expect(said.map(({ status }) => status)).toEqual([401, 401, 401]);
    expect(said.map(({ text }) => text).join()).not.toContain('mesh');
    expect(performance.now() - began).toBeLessThan(10_000);
  });

  it('are there while the machine waits to be let in, and go on when it is', async () => {
    rig.api.isWaiting = true;
    const stream = await watch(await rig.enter('viewer'));
    // Longer than a few looks: that nothing is decided here is no end of them, nor of the agent.
    await sleep(500);
    rig.api.isWaiting = false;
    rig.api.queue = 3;
    await vi.waitFor(() => expect(waitingIn(stream)).toBe(3), patient);
  });

  /** The same question again and again, without waiting for an answer. */
  async function askedInOneGo({ place, cookie }: In, path: string, times: number) {
    const socket = connect(rig.port, '127.0.0.1');
    socket.on('error', () => {});
    await once(socket, 'connect');
    const head = `GET ${place}${path} HTTP/1.1\r\nhost: 127.0.0.1:${rig.port}\r\ncookie: ${cookie}\r\n\r\n`;
    socket.write(head.repeat(times));
    return socket;
  }

  it('asked for again and again on one connection are one stream, of which nothing is left', async () => {
    const one = await rig.enter('viewer');
    const socket = await askedInOneGo(one, '/api/events', 30);
    await once(socket, 'data');
    await sleep(300);
    socket.destroy();
    await once(socket, 'close');
    await sleep(300);
    const streams = await Promise.all(Array.from({ length: 8 }, () => watch(one)));
    expect(streams.map(({ status }) => status)).toEqual(Array(8).fill(200));
  });

  it('what waits for news is one question a connection, and few of one session', async () => {
    const one = await rig.enter('viewer');
    const tag = String((await rig.get(one, '/api/status')).headers.etag).replaceAll('"', '');
    const waiting = `/api/status?wait=1000&tag=${tag}`;
    const socket = await askedInOneGo(one, waiting, 30);
    let said = '';
    socket.on('data', (part) => {
      said += part;
    });
    await once(socket, 'close');
    expect(said.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 429']);
    const statuses = (await Promise.all(Array.from({ length: 12 }, () => rig.get(one, waiting)))).map(
      ({ status }) => status,
    );
    expect([200, 429].map((wanted) => statuses.filter((status) => status === wanted).length)).toEqual([8, 4]);
    expect((await rig.get(one, '/api/status')).status).toBe(200);
  });

  it('what other machines are asked for is looked up once for all who ask, and few ask at once', async () => {
    const [one, other] = [await rig.enter('viewer'), await rig.enter('viewer')];
    let answer = (): void => {};
    rig.api.slowness = new Promise((resolve) => {
      answer = resolve;
    });
    const path = '/api/gitlab/history';
    const refused: string[] = [];
    const asked = Array.from({ length: 12 }, async () => {
      const said = await rig.get(one, path);
      if (said.status === 429) refused.push(JSON.parse(said.text).error.message);
      return said;
    });
    // Those that are too many are told at once, while the others wait.
    await vi.waitFor(() => expect(refused.length).toBe(4), patient);
    expect(refused[0]).toContain('page-1 has 8 questions that wait for an answer');
    const ofOther = rig.get(other, path);
    answer();
    const statuses = (await Promise.all(asked)).map(({ status }) => status);
    expect([200, 429].map((wanted) => statuses.filter((status) => status === wanted).length)).toEqual([8, 4]);
    expect((await ofOther).status).toBe(200);
    for (let round = 0; round < 20; round++) await rig.get(one, path);
    expect(rig.api.historyLooks).toBeLessThanOrEqual(3);
  });

  it('what waits for news does not give way to strangers', async () => {
    const one = await rig.enter('viewer');
    const tag = String((await rig.get(one, '/api/status')).headers.etag).replaceAll('"', '');
    const looks = rig.api.looks;
    const said = rig.get(one, `/api/status?wait=3000&tag=${tag}`);
    await vi.waitFor(() => expect(rig.api.looks).toBeGreaterThan(looks), patient);
    const strangers = Array.from({ length: 80 }, () => connect(rig.port, '127.0.0.1').on('error', () => {}));
    expect((await said).status).toBe(200);
    for (const stranger of strangers) stranger.destroy();
  });

  it('a trace is streamed as it grows, and given up with the browser', async () => {
    const { place, cookie } = await rig.enter('viewer');
    const sent = request({
      ...{ host: '127.0.0.1', port: rig.port, path: `${place}/api/logs?job=7&follow=1` },
      ...{ headers: { cookie }, agent: false },
    });
    open.push(sent);
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', resolve).once('error', reject);
      sent.end();
    });
    expect(answer.headers['content-type']).toContain('text/plain');
    await new Promise((resolve) => answer.once('data', resolve));
    sent.destroy();
    answer.on('error', () => {});
    await vi.waitFor(() => expect(rig.api.endedLogs).toBe(1), patient);
  });
});

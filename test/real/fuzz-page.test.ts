import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Role } from '../../node/page/page-types.ts';
import type { Chance } from '../sim/chance.ts';
import { fuzzRounds, fuzzTimeoutMs, least } from './fuzz-rounds.ts';
import { type In, PageRig } from './page-rig.ts';

let rig: PageRig;
beforeEach(async () => {
  rig = await new PageRig().open();
});
afterEach(() => rig.close());

const seconds = 3;
const acts = ['approve', 'ignore', 'pause', 'resume', 'drain', 'cancel', 'retry', 'backup', 'move', 'move-cancel'];
const reads = ['me', 'status', 'jobs', 'why', 'settings', 'summary', 'openapi.json', 'timeline', 'usage', 'nothing'];
const odd = [
  '',
  '0',
  '-1',
  '1e9',
  '../x',
  '%00',
  '%2e%2e%2f',
  '\u00e4',
  "'",
  '<b>',
  '__proto__',
  'constructor',
  'x'.repeat(3000),
  '\u0000',
  '{}',
  '[]',
];
const values: unknown[] = [
  ...odd,
  null,
  true,
  0,
  -1,
  1e308,
  [],
  {},
  [[]],
  { node: {} },
  'kang',
  'all',
  'gpu',
  'a-b-c-d',
  7,
];
const fields = ['node', 'words', 'what', 'forMs', 'now', 'drained', 'job', 'force', 'to', '__proto__', 'kind'];

const body = (chance: Chance): string => {
  const object = Object.fromEntries(
    Array.from({ length: chance.below(5) }, () => [chance.pick(fields), chance.pick(values)]),
  );
  const text = JSON.stringify(chance.below(4) === 0 ? chance.pick(values) : object);
  return chance.below(6) === 0 ? text.slice(0, chance.below(text.length + 1)) : text;
};

/** One request as bytes, so that also what no client sends is sent. */
function requestOf(chance: Chance, who: In | null, key: string | null): string {
  const pieces = ['/', ...reads.map((one) => `/api/${one}`), ...acts.map((one) => `/api/acts/${one}`)];
  const strange = ['/enter', '/door.js', '/page.js', '/s/', '/api/', '/api/acts/', '//', '/v1/status', '/v1/change'];
  const path =
    chance.pick(chance.below(3) === 0 ? strange : pieces) + (chance.below(5) === 0 ? encodeURI(chance.pick(odd)) : '');
  const query =
    chance.below(3) === 0
      ? `?${chance.pick(['job', 'all', 'code', 'tag', 'wait'])}=${encodeURIComponent(chance.pick(odd))}`
      : '';
  const method = chance.pick(['GET', 'GET', 'POST', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'TRACE']);
  const text = method === 'GET' || method === 'HEAD' ? '' : body(chance);
  const ours = `http://127.0.0.1:${rig.port}`;
  const headers = [
    `host: ${chance.below(8) === 0 ? chance.pick(['evil', '[::1]', ':', 'kang']) : `127.0.0.1:${rig.port}`}`,
    ...(chance.below(4) > 0 ? [`x-autogit: page`, `content-type: application/json`] : []),
    ...(chance.below(4) > 0 ? [`origin: ${chance.below(5) === 0 ? 'http://evil.example' : ours}`] : []),
    ...(who === null ? [] : [`cookie: ${chance.below(5) === 0 ? 'autogit=; ;;=' : ''}${who.cookie}`]),
    ...(key === null ? [] : [`authorization: Bearer ${key}`]),
    ...(chance.below(6) === 0 ? [`accept-encoding: ${chance.pick(['br', 'gzip;q=0', '*', ', ,'])}`] : []),
    `content-length: ${Buffer.byteLength(text) + (chance.below(20) === 0 ? -1 : 0)}`,
    'connection: close',
  ];
  const at = who === null ? '' : who.place;
  return `${method} ${at}${path}${query} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n${text}`;
}

/** What comes back until the other side ends; a request that promises more than it sends is cut by this side. */
function sent(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(rig.port, '127.0.0.1', () => socket.end(text, 'latin1'));
    let answer = '';
    socket.setEncoding('latin1');
    socket.on('data', (part) => {
      answer += part;
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', () => {});
    socket.setTimeout(30_000, () => reject(new Error(`no end of an answer to ${text.slice(0, 300)}`)));
  });
}

describe('fuzz of the page', () => {
  it.each([null, 'viewer', 'operator', 'owner'] as (Role | null)[])(
    '%s: whatever is asked is answered or refused; nothing is done that is not his to do, and nothing fails',
    async (role) => {
      const who = role === null ? null : await rig.enter(role);
      const key = role === null ? null : (await rig.page.pageKey(role, null)).key;
      const statuses = new Map<string, number>();
      const rounds = await fuzzRounds(`the page by ${role}`, seconds, async (chance) => {
        const asked = requestOf(chance, chance.below(2) === 0 ? who : null, chance.below(3) === 0 ? key : null);
        const answer = await sent(asked);
        const status = /^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? '';
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        // Too many refusals are answered by nothing.
        expect(status === '' ? '200' : status, asked).toMatch(/^(200|30[348]|40[0-9]|413|421|429|431|503|504)$/);
        expect(
          rig.said.filter((sentence) => sentence.includes("page's door")),
          asked,
        ).toEqual([]);
        if (status !== '' && !/^(400|431)$/.test(status)) expect(answer, asked).toContain("default-src 'none'");
      });
      expect(rounds).toBeGreaterThan(least(40));
      const done = rig.api.asked.filter((one) => !Object.hasOwn(Object(one), 'jobs'));
      const kinds = done.map((one) => String((one as { kind?: string }).kind ?? Object.keys(Object(one))[0]));
      if (role === null) expect([rig.api.asked, rig.api.looks]).toEqual([[], 0]);
      if (role === 'viewer') expect(done).toEqual([]);
      if (role === 'operator')
        expect(kinds.filter((kind) => ['approve', 'ignore', 'drain', 'pause', 'move'].includes(kind))).toEqual([]);
      if (role === 'owner' && !process.env.AUTOGIT_FUZZ_SEED) expect(kinds.length).toBeGreaterThan(0);
      expect(JSON.parse((await rig.get(await rig.enter('viewer'), '/api/me')).text)).toMatchObject({ role: 'viewer' });
    },
    fuzzTimeoutMs(seconds),
  );

  it('an act that is too long is refused, and the agent is asked for nothing', async () => {
    const one = await rig.enter('owner');
    const said = await rig.act(one, 'ignore', JSON.stringify({ node: 'x'.repeat(300_000) }));
    expect([said.status, JSON.parse(said.text).error.code]).toEqual([413, 'frame-too-large']);
    expect(rig.api.asked).toEqual([]);
  });
});

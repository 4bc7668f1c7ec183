// What a job or a stranger on the LAN tries at the page of an agent, with whatever it could make up. No library, nothing built: it runs
// inside a job. Arguments: places of doors (http://HOST:PORT), and folders of agents that it tries to read; prints one JSON line.
import { readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';

const args = process.argv.slice(2);
const doors = args.filter((one) => one.startsWith('http'));
const homes = args.filter((one) => one.startsWith('/'));

const ask = (door, path, { method = 'GET', headers = {}, body } = {}) =>
  new Promise((resolve) => {
    const sent = request(door + path, { method, headers, agent: false }, (answer) => {
      let text = '';
      answer.on('data', (part) => {
        text += part;
      });
      answer.on('close', () => resolve({ status: answer.statusCode, text }));
    });
    sent.on('error', (error) => resolve({ status: error.code ?? error.message, text: '' }));
    // What answers nothing within this was let in to a stream.
    sent.setTimeout(20_000, () => sent.destroy(new Error('silent')));
    sent.end(body);
  });

const guess = 'A'.repeat(43);
const place = `/s/${'A'.repeat(22)}`;
const json = { 'content-type': 'application/json', 'x-autogit': 'page' };
const drain = JSON.stringify({ node: 'kang', drained: true });
const seen = {};
for (const door of doors) {
  const acts = { method: 'POST', body: drain };
  const tries = {
    bare: [`/`],
    status: ['/api/status'],
    events: ['/api/events'],
    logs: ['/api/logs?job=1&follow=1'],
    key: ['/api/status', { headers: { authorization: `Bearer agk_${guess}` } }],
    session: [`${place}/api/status`, { headers: { cookie: `autogit=${guess}` } }],
    link: [`/enter?code=${guess}`],
    files: ['/../page.json'],
    encoded: ['/%2e%2e/page.json'],
    act: ['/api/acts/drain', { ...acts, headers: { ...json, origin: door } }],
    'act of a session': [
      `${place}/api/acts/drain`,
      { ...acts, headers: { ...json, origin: door, cookie: `autogit=${guess}` } },
    ],
    socket: ['/v1/change', { ...acts, headers: { ...json, 'autogit-socket': '1' } }],
    link2: ['/v1/page/link', { method: 'POST', headers: json, body: '{"role":"owner","forMs":null}' }],
    rebound: ['/api/status', { headers: { host: 'evil.example' } }],
  };
  seen[door] = {};
  for (const [name, [path, asking]] of Object.entries(tries)) {
    const { status, text } = await ask(door, path, asking);
    seen[door][name] = status;
    if (/"leader"|"mesh":|lab\/|term/.test(text)) seen[door][name] = `told: ${text.slice(0, 200)}`;
  }
}
const read = (act) => {
  try {
    act();
    return 'read';
  } catch (error) {
    return error.code;
  }
};
for (const home of homes)
  seen[home] = {
    folder: read(() => readdirSync(home)),
    keys: read(() => readFileSync(`${home}/page.json`)),
    socket: await new Promise((resolve) => {
      const socket = connect(`${home}/agent.sock`, () => resolve('connected'));
      socket.on('error', (error) => resolve(error.code));
    }),
  };
console.log(`TRIED ${JSON.stringify(seen)}`);

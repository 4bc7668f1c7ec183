import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { licenceOf } from '../../deploy/third-party.mjs';
import setUpBundle from '../e2e/bundle.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const dist = (name: string): string => readFileSync(join(root, 'dist', name), 'utf8');
interface Manifest {
  name: string;
  version: string;
  license?: string;
  engines?: { node?: string };
  dependencies?: Record<string, string>;
}
interface Lock {
  packages: Record<string, Manifest & { dev?: boolean; optional?: boolean }>;
}
interface Component {
  name: string;
  group?: string;
  version: string;
  purl: string;
  licenses: unknown[];
}

let dir: string;
/** `node_modules/a`, `node_modules/a/node_modules/@b/c`: read from esbuild's record by another way than deploy/third-party.mjs does. */
let places: string[];
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock;
const manifestOf = (place: string): Manifest =>
  JSON.parse(readFileSync(join(root, place, 'package.json'), 'utf8')) as Manifest;

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-bundle-'));
  setUpBundle();
  const record = JSON.parse(dist('metafile.json')) as {
    outputs: Record<string, { inputs: Record<string, { bytesInOutput: number }> }>;
  }[];
  const found = new Set<string>();
  for (const { outputs } of record)
    for (const { inputs } of Object.values(outputs))
      for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
        const place = /node_modules\/(?:.*node_modules\/)?(?:@[^/]+\/)?[^/]+/.exec(file)?.[0];
        if (place && bytesInOutput > 0) found.add(place);
      }
  places = [...found];
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('what of others is in the bundle', () => {
  it('every package is named in THIRD-PARTY.txt, with a text that is its licence', () => {
    expect(places.length).toBeGreaterThan(90);
    const parts = dist('THIRD-PARTY.txt').split(/^-{78}\n(?=\S+ \d+\.\d+\S* \()/m);
    const texts = new Map(
      parts.flatMap((part) => {
        const [head = '', ...rest] = part.split('\n\n');
        return head.split('\n').map((line) => [line.split(' ').slice(0, 2).join(' '), rest.join('\n\n')] as const);
      }),
    );
    const marks =
      /Permission is hereby granted|Permission to use, copy, modify|Redistribution and use in source and binary|Apache\s+License\s+Version 2\.0|free and unencumbered software/;
    const without = places.filter((place) => {
      const { name, version } = manifestOf(place);
      const text = texts.get(`${name} ${version}`) ?? '';
      return !marks.test(text) || text.length < 500;
    });
    expect(without).toEqual([]);
    for (const place of places) expect(() => licenceOf(manifestOf(place))).not.toThrow();
  });

  it('a licence that an MIT program cannot carry along ends the build', () => {
    const licensed = (license: string | undefined) => () => licenceOf({ name: 'x', license });
    expect(licensed('(MIT OR GPL-3.0-only)')()).toBe('MIT OR GPL-3.0-only');
    expect(licensed('Apache-2.0 AND MIT')()).toBe('Apache-2.0 AND MIT');
    for (const bad of ['GPL-3.0-only', 'MIT AND GPL-2.0-only', 'SEE LICENSE IN x', 'MPL-2.0', undefined])
      expect(licensed(bad)).toThrow(/^x is under/);
  });

  it('every package, and what npm installs beside the bundle, is in the bill of materials, and every edge leads somewhere', () => {
    const bill = JSON.parse(dist('sbom.cdx.json')) as {
      specVersion: string;
      components: Component[];
      dependencies: { ref: string; dependsOn: string[] }[];
    };
    expect(bill.specVersion).toBe('1.6');
    const listed = bill.components.map(({ group, name, version }) => `${group ? `${group}/` : ''}${name} ${version}`);
    const installed = Object.entries(lock.packages)
      .filter(([place, one]) => place !== '' && !one.dev && !one.optional)
      .map(([place]) => place);
    expect(installed).toContain('node_modules/classic-level');
    const wanted = [...places, ...installed].map(manifestOf).map(({ name, version }) => `${name} ${version}`);
    expect([...listed].sort()).toEqual([...new Set(wanted)].sort());
    const known = new Set([
      `pkg:npm/autogit-node@${manifestOf('.').version}`,
      ...bill.components.map(({ purl }) => purl),
    ]);
    expect(known.size).toBe(bill.components.length + 1);
    for (const { ref, dependsOn } of bill.dependencies)
      expect([ref, ...dependsOn].filter((one) => !known.has(one))).toEqual([]);
    expect(bill.components.filter(({ licenses }) => licenses.length !== 1)).toEqual([]);
  });

  it('carries nothing that only a way we refuse would use', () => {
    // BuildKit's sessions, and engines behind ssh:// (test/unit/docker-ssh.test.ts).
    expect(places.filter((place) => /\/(?:ssh2|asn1|tweetnacl|bcrypt-pbkdf|protobufjs|@grpc)/.test(place))).toEqual([]);
    // The cipher in WebAssembly (test/unit/noise-cipher.test.ts): V8 loads its optimizing compiler for any at all.
    expect(places.filter((place) => place.includes('@chainsafe/as-'))).toEqual([]);
    expect(dist('agent.cjs')).not.toContain('WebAssembly.');
    // One character above U+00FF, in a pattern for instance, and V8 keeps the whole text in two bytes a character.
    expect(dist('agent.cjs').match(/.{0,40}[^\0-\xff]/)?.[0]).toBeUndefined();
    // The practice GitLab's, which is a file of its own.
    for (const name of ['GraphQLSchema', 'RE2JS', 'X-Practice-GitLab']) {
      expect([name, dist('agent.cjs').includes(name)]).toEqual([name, false]);
      expect([name, dist('practice.cjs').includes(name)]).toEqual([name, true]);
    }
    // What is scraped, with prom-client.
    for (const name of ['PROMETHEUS_CONTENT_TYPE', 'autogit_machine_up'])
      expect([name, dist('agent.cjs').includes(name), dist('metrics.cjs').includes(name)]).toEqual([name, false, true]);
    // A package that came in by mistake is larger than what is left to it: of 3.0 MB, 0.12 of which are the page's door, the history and top, 0.04 word to people, read only when somebody comes, 0.02 a beat by datagram and words of the command line, and 0.01 that rooms which were full are several files.
    expect(Buffer.byteLength(dist('agent.cjs'))).toBeLessThan(3_130_000);
  });

  it('the page is on a screen after 100 kB, and has nothing in it that its policy would refuse', () => {
    const names = ['index.html', 'page.js', 'page.css', 'icon.svg'];
    const bytes = (ending: string): number =>
      names.reduce((sum, name) => sum + readFileSync(join(root, 'dist', 'page', `${name}${ending}`)).length, 0);
    expect(bytes('.br')).toBeLessThan(60_000);
    expect(bytes('.gz')).toBeLessThan(100_000);
    for (const name of names) {
      const file = readFileSync(join(root, 'dist', 'page', name));
      expect(brotliDecompressSync(readFileSync(join(root, 'dist', 'page', `${name}.br`)))).toEqual(file);
      expect(gunzipSync(readFileSync(join(root, 'dist', 'page', `${name}.gz`)))).toEqual(file);
    }
    // Nothing inline, nothing made of text, nothing of another place.
    expect(dist('page/index.html')).not.toMatch(/<script(?![^>]* src="\.\/)|<style|\son\w+=|https?:/);
    expect(dist('page/page.css')).not.toMatch(/url\(|@import/);
    expect(dist('page/page.js')).not.toMatch(/\beval\(|new Function|dangerouslySetInnerHTML=/);
    // A browser needs no schema.
    expect(dist('page/page.js')).not.toContain('ZodError');
  });

  it('an agent that nobody asks anything loads no more than it needs', () => {
    const record = JSON.parse(dist('metafile.json')) as {
      inputs: Record<string, { imports: { path: string; kind: string }[] }>;
      outputs: Record<string, { entryPoint?: string; inputs: Record<string, { bytesInOutput: number }> }>;
    }[];
    const isAgent = ({ entryPoint }: { entryPoint?: string }): boolean => entryPoint === 'node/main.ts';
    const whole = record.find(({ outputs }) => Object.values(outputs).some(isAgent));
    const texts = Object.values(whole?.outputs ?? {}).find(isAgent)?.inputs ?? {};
    // What `join` asks for by import(); all else comes with a question, a job, a file or a hosted GitLab.
    const asked = ['main', 'cli/program', 'cli/local-commands', 'polyfill', 'settings/join-options', 'cli/job-user'];
    const more = ['store/join-memory', 'agent/run-agent', 'cli/may-start-at-boot', 'network/network'];
    const loaded = new Set<string>();
    const load = (file: string): void => {
      if (loaded.has(file)) return;
      loaded.add(file);
      for (const { path, kind } of whole?.inputs[file]?.imports ?? []) if (kind !== 'dynamic-import') load(path);
    };
    for (const name of [...asked, ...more].map((one) => `node/${one}.ts`)) {
      expect(texts[name], name).toBeDefined();
      load(name);
    }
    // Each of these has hundreds of schemas, or is a package of its own: 3 MiB of an idle agent's 75.
    const seldom =
      /protocol\/(asks|status)\.ts$|socket-(protocol|client)\.ts$|service-commands|metrics\/exposition|node_modules\/(prom-client|yaml|graphql|dockerode|systeminformation)\/|practice\/|node\/doctor\//;
    expect([...loaded].filter((file) => seldom.test(file))).toEqual([]);
    // 2.03 MB: the page's door, history, notices and figures are in each idle agent by their door only; it was 2.05 of 3.51.
    expect([...loaded].reduce((bytes, file) => bytes + (texts[file]?.bytesInOutput ?? 0), 0)).toBeLessThan(2_045_000);
  });

  it('no package of it wants a newer Node than we promise', () => {
    const promised = /^>=(\d+)\.(\d+)$/.exec(manifestOf('.').engines?.node ?? '');
    const [major, minor] = [Number(promised?.[1]), Number(promised?.[2])];
    expect([major, minor]).toEqual([20, 19]);
    const holds = (range: string): boolean =>
      range.split('||').some((part) => {
        const [, sign, a, b = '0'] = /^\s*(>=|\^|~|)\s*v?(\d+)(?:\.(\d+))?(?:\.\d+)?(?:\.x)?\s*$/.exec(part) ?? [];
        if (a === undefined) return /^\s*\*?\s*$/.test(part);
        const isNewer = Number(a) > major || (Number(a) === major && Number(b) > minor);
        return !isNewer && (sign === '>=' || Number(a) === major);
      });
    expect([holds('>=22'), holds('^20.0.0 || >=24'), holds('>= 0.10'), holds('>=20.20.0')]).toEqual([
      false,
      true,
      true,
      false,
    ]);
    const newer = Object.entries(lock.packages).filter(
      ([place, { dev, engines }]) =>
        place !== '' && (!dev || places.includes(place)) && engines?.node !== undefined && !holds(engines.node),
    );
    expect(newer.map(([place, { version, engines }]) => `${place} ${version} wants ${engines?.node}`)).toEqual([]);
  });
});

describe('a fault in the bundle', () => {
  it('names our functions and the lines of our sources', () => {
    const breaking = join(dir, 'breaking.cjs');
    // What nobody foresees: Node itself fails at a call of ours.
    const broken = (how: string): string =>
      `const fs = require('node:fs'); const was = fs.existsSync; fs.existsSync = (path) => { if (String(path).endsWith('autogit.yml')) ${how}; return was(path); };`;
    const fail = (how: string) => {
      writeFileSync(breaking, broken(how));
      return spawnSync(
        process.execPath,
        ['--require', breaking, join(root, 'dist', 'autogit-node.cjs'), 'practice-gitlab'],
        {
          encoding: 'utf8',
          timeout: 30_000,
        },
      );
    };
    const { status, stderr } = fail(`throw new Error('boom')`);
    expect(status).toBe(70);
    const at =
      / {4}at loadSettings \(node\/settings\/settings\.ts:(\d+):\d+\)\n {4}at async start \(node\/cli\/program\.ts:\d+:\d+\)/.exec(
        stderr,
      );
    expect(at, stderr).not.toBeNull();
    expect(
      readFileSync(join(root, 'node', 'settings', 'settings.ts'), 'utf8').split('\n')[Number(at?.[1]) - 1],
    ).toContain('existsSync(');
    expect(stderr).not.toContain('agent.cjs:');

    // Thrown where nobody can catch it: Node alone would print a screen of the bundle's code, and end with 1.
    const late = fail(`setTimeout(() => { throw new Error('boom') }, 200)`);
    expect([late.status, late.stderr.split('\n').slice(0, 3)]).toEqual([
      70,
      ['error: an unforeseen error: boom', 'fix: please report it with what follows', 'Error: boom'],
    ]);
    expect(Math.max(...late.stderr.split('\n').map((line) => line.length))).toBeLessThan(200);
  });
});

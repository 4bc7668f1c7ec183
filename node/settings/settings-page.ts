import { z } from 'zod';
import { pagePort } from '../../protocol/names.ts';
import { roles } from '../page/page-types.ts';
import type { Flag } from './settings-flag.ts';
import { placeOf } from './settings-webhook.ts';

/** Where this machine's page for people is served, and how it may be called. */
export interface PageSettings {
  host: string;
  port: number;
  /** Names by which it is reached besides its own ones, such as a proxy's. */
  names: string[];
}

const usualHost = '127.0.0.1';

export const pageFlags: readonly Flag[] = [
  {
    key: 'dashboard',
    name: 'dashboard',
    kind: 'text',
    value: 'HOST:PORT',
    default: `${usualHost}:${pagePort.first}`,
    commands: ['join'],
    help: 'serve the page that people look at there (0.0.0.0: to the LAN, by plain http); off: none',
  },
  {
    key: 'dashboardNames',
    name: 'dashboard-name',
    kind: 'list',
    value: 'NAME',
    commands: ['join'],
    help: "a name by which that page is reached besides this machine's own, such as a proxy's",
  },
  {
    key: 'page.role',
    name: 'role',
    kind: 'choice',
    choices: roles,
    value: 'ROLE',
    commands: ['dashboard', 'dashboard key'],
    help: 'viewer looks; operator cancels and retries jobs and backs GitLab up too; owner may all (default: owner; of a key: viewer)',
  },
  {
    key: 'page.for',
    name: 'for',
    kind: 'duration',
    value: 'TIME',
    commands: ['dashboard'],
    help: 'how long the browser stays in (default: 7d; 365d at most)',
  },
  {
    key: 'page.name',
    name: 'name',
    kind: 'text',
    value: 'NAME',
    commands: ['dashboard key'],
    help: 'what the key is called (default: key-1 and so on)',
  },
];

export const pageChecks: Record<string, { schema: z.ZodType; sentence: string }> = {
  dashboard: {
    schema: z
      .string()
      .max(300)
      .refine((text) => text === 'off' || placeOf(text, pagePort.first) !== null),
    sentence: `it is HOST:PORT, such as ${usualHost}:${pagePort.first}, with a port from 1 to 65535; or off`,
  },
  dashboardNames: {
    schema: z.array(z.string().regex(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i)).max(16),
    sentence: 'at most 16 names, such as mesh.example.org, without http:// and port',
  },
};

/** Null: none is served. */
export function pageSettings(settings: {
  text(key: string): string | null;
  list(key: string): string[];
}): PageSettings | null {
  const text = settings.text('dashboard') ?? `${usualHost}:${pagePort.first}`;
  const place = text === 'off' ? null : placeOf(text, pagePort.first);
  return place && { ...place, names: settings.list('dashboardNames') };
}

import { isIPv4, isIPv6 } from 'node:net';
import { z } from 'zod';
import { limits } from '../../protocol/limits.ts';
import { webhookPort } from '../../protocol/names.ts';
import { sourcesOf } from '../webhook/allowed-sources.ts';
import type { Flag } from './settings-flag.ts';

/** Where GitLab tells this machine at once that there is work. Off unless its owner says otherwise: it is a port on the LAN. */
export interface WebhookSettings {
  host: string;
  port: number;
  /** By which GitLab reaches it, where that is another address; without a slash at its end. */
  url: string | null;
  /** PEM: certificate, chain and key. Null: plain HTTP. */
  tlsFile: string | null;
  /** Addresses and subnets; empty: any. */
  allow: string[];
}

export const webhookFlags: readonly Flag[] = [
  {
    key: 'webhook',
    name: 'webhook',
    kind: 'text',
    value: 'HOST:PORT',
    commands: ['join'],
    help: `let GitLab tell this machine at once that there is work, there (port ${webhookPort} unless said); off: no door`,
  },
  {
    key: 'webhookUrl',
    name: 'webhook-url',
    kind: 'text',
    value: 'URL',
    commands: ['join'],
    help: 'by which GitLab reaches that door, where it is not HOST:PORT',
  },
  {
    key: 'webhookTls',
    name: 'webhook-tls',
    kind: 'text',
    value: 'FILE',
    commands: ['join'],
    help: "that door's certificate, chain and key in one PEM file; without it: plain HTTP",
  },
  {
    key: 'webhookAllow',
    name: 'webhook-allow',
    kind: 'list',
    value: 'NET',
    commands: ['join'],
    help: 'address or subnet from which webhooks may come (default: any)',
  },
];

const place = /^(?:\[([\da-f:.]+)\]|([\w.-]+)|([\da-f]*:[\da-f:]+))(?::(\d{1,5}))?$/i;

function isUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return false;
  return url.username === '' && url.password === '' && url.search === '' && url.hash === '';
}

export const webhookChecks: Record<string, { schema: z.ZodType; sentence: string }> = {
  webhook: {
    schema: z
      .string()
      .max(300)
      .refine((text) => text === 'off' || placeOf(text) !== null),
    sentence: `it is HOST:PORT, such as 0.0.0.0:${webhookPort}, with a port from 1 to 65535; or off`,
  },
  webhookUrl: { schema: z.string().max(1024).refine(isUrl), sentence: 'it is http://HOST:PORT or https://HOST:PORT' },
  webhookAllow: {
    schema: z
      .array(z.string().max(64))
      .max(limits.addresses)
      .refine((nets) => sourcesOf(nets) !== null),
    sentence: `at most ${limits.addresses} of 192.168.1.5, 192.168.1.0/24, fd00::/8`,
  },
};

/** What somebody writes who means a switch; `off` is one. As names of hosts they would open no door, and say so late. */
const switches = /^(on|yes|true|no|false|none|never|auto)$/i;

/** Null: no such place. An address of IPv6 with a port stands in brackets; a bare number would be an address to the resolver. */
export function placeOf(text: string, usualPort: number = webhookPort): { host: string; port: number } | null {
  const [, bracketed, name, bare, digits] = place.exec(text) ?? [];
  const six = bracketed ?? bare;
  const port = digits === undefined ? usualPort : Number(digits);
  if (port < 1 || port > 65_535) return null;
  if (six !== undefined) return isIPv6(six) ? { host: six, port } : null;
  if (name === undefined || switches.test(name) || (/^[\d.]+$/.test(name) && !isIPv4(name))) return null;
  return { host: name, port };
}

export function webhookSettings(settings: {
  text(key: string): string | null;
  list(key: string): string[];
}): WebhookSettings | null {
  const text = settings.text('webhook') ?? 'off';
  const found = text === 'off' ? null : placeOf(text);
  if (found === null) return null;
  return {
    ...found,
    url: settings.text('webhookUrl')?.replace(/\/+$/, '') ?? null,
    tlsFile: settings.text('webhookTls'),
    allow: settings.list('webhookAllow'),
  };
}

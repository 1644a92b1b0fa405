// A real Chromium for tests of the pages.

import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { PATIENCE_MS, atEnd } from './helpers.mjs';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

// Debian's Chromium as root in a container, and no talk to hosts of its own.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

/** Starts a browser; the benchmark has no suite that would end it. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? PATHS.find(existsSync), args: FLAGS });
}

/**
 * One browser for a suite. Answers what opens a page in a context of its own: `page.complaints` fills with whatever goes
 * wrong in it, but for addresses that match `expected`.
 */
export function useBrowser() {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  return async function openPage(t, { expected = /(?!)/, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    atEnd(t, () => context.close());
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.complaints = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      const known = expected.test(message.location().url);
      if (['error', 'warning'].includes(message.type()) && !known) page.complaints.push(message.text());
    });
    page.on('pageerror', (error) => page.complaints.push(String(error)));
    page.on('response', (response) => {
      if (response.status() >= 400 && !expected.test(response.url())) page.complaints.push(`${response.status()} ${response.url()}`);
    });
    page.on('requestfailed', (request) => {
      const reason = request.failure()?.errorText;
      // Without scripts Chromium itself refuses to preload them.
      const unwanted = options.javaScriptEnabled === false && request.url().endsWith('.js');
      if (reason !== 'net::ERR_ABORTED' && !unwanted) page.complaints.push(`${reason} ${request.url()}`);
    });
    return page;
  };
}

/** Waits until the connection badge says this state. */
export const badge = (page, state) => page.locator(`#badge[data-state=${state}]`).waitFor();

/** The tile called `title`. */
export const tile = (page, title) => page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });

/** Waits until the number tile called `title` reads `value`. */
export const reads = (page, title, value) => tile(page, title).locator('.number-value', { hasText: value }).waitFor();

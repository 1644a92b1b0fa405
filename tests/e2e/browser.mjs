// Chromium for tests of the pages.

import { existsSync } from 'node:fs';
import { after, before } from 'node:test';
import { chromium } from 'playwright-core';
import { TIMEOUT_MS, onTestEnd, startServer } from './helpers.mjs';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

// Allows Debian's Chromium to run as root in a container, and disables its background requests.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];

/** Starts a browser. The caller closes it. */
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? PATHS.find(existsSync), args: FLAGS });
}

/**
 * Starts one browser for a suite. Returns a function that opens a page in a context of its own: `page.problems` collects
 * console errors, exceptions and failed requests, except those of URLs that match `expected`.
 */
export function useBrowser() {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  return async function openPage(t, { expected = /(?!)/, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB', ...options });
    onTestEnd(t, () => context.close());
    context.setDefaultTimeout(TIMEOUT_MS);
    const page = await context.newPage();
    page.problems = [];
    // A violation of the content security policy is an error on the console.
    page.on('console', (message) => {
      const known = expected.test(message.location().url);
      if (['error', 'warning'].includes(message.type()) && !known) page.problems.push(message.text());
    });
    page.on('pageerror', (error) => page.problems.push(String(error)));
    page.on('response', (response) => {
      if (response.status() >= 400 && !expected.test(response.url())) page.problems.push(`${response.status()} ${response.url()}`);
    });
    page.on('requestfailed', (request) => {
      const reason = request.failure()?.errorText;
      // With scripts disabled, Chromium refuses to preload them.
      const unwanted = options.javaScriptEnabled === false && request.url().endsWith('.js');
      if (reason !== 'net::ERR_ABORTED' && !unwanted) page.problems.push(`${reason} ${request.url()}`);
    });
    return page;
  };
}

/** Waits until the connection badge shows this state. */
export const waitForBadge = (page, state) => page.locator(`#badge[data-state=${state}]`).waitFor();

/** Returns the locator of the tile with this title. */
export const tile = (page, title) => page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });

/** Waits until the number tile with this title shows `value`. */
export const waitForNumber = (page, title, value) => tile(page, title).locator('.number-value', { hasText: value }).waitFor();

/**
 * Starts one browser for a suite of unit tests. Returns a function that runs `work` with the exports of a module below
 * `static/js/`, in the page of the test, and returns its result, which has to be JSON or NaN.
 */
export function useModules(options) {
  const openPage = useBrowser();
  const pages = new WeakMap();

  async function openDocs(t) {
    const server = await startServer(t);
    const page = await openPage(t, options);
    await page.goto(`${server.url}docs`);
    return { server, page };
  }

  return async function runInModule(t, path, work, argument) {
    if (!pages.has(t)) pages.set(t, openDocs(t));
    const { server, page } = await pages.get(t);
    const url = `${server.url}static/js/${path}`;
    return page.evaluate(`import(${JSON.stringify(url)}).then((module) => (${work})(module, ${JSON.stringify(argument ?? null)}))`);
  };
}

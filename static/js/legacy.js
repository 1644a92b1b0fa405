/*
 * The same numbers for browsers without modules: ES5 and XMLHttpRequest. Polls every few seconds with the tag of the last
 * response, so an unchanged snapshot is a 304 without a body; waits longer while the server does not respond.
 */
(function () {
  'use strict';

  var EVERY_MS = 5000;
  var LONGEST_MS = 60000;
  var TIMEOUT_MS = 15000;
  var place = document.getElementById('legacy');
  var root = document.documentElement;
  var status = document.createElement('p');
  var tables = document.createElement('div');
  var etag = null;
  var token = null;
  var wait = EVERY_MS;
  var lastGood = null;

  function add(parent, name, text) {
    var node = document.createElement(name);
    if (text !== undefined) node.appendChild(document.createTextNode(text));
    parent.appendChild(node);
    return node;
  }

  function setStatus(text) {
    while (status.firstChild) status.removeChild(status.firstChild);
    status.appendChild(document.createTextNode(text));
  }

  function words(name) {
    return name.replace(/[_.]+/g, ' ');
  }

  function table(name, values) {
    var section = add(tables, 'section');
    add(section, 'h2', words(name));
    var body = add(add(section, 'table'), 'tbody');
    for (var field in values) {
      if (!Object.prototype.hasOwnProperty.call(values, field)) continue;
      var value = values[field];
      var row = add(body, 'tr');
      var head = add(row, 'th', words(field));
      head.setAttribute('scope', 'row');
      add(row, 'td', value === null ? '\u2014' : typeof value === 'object' ? JSON.stringify(value) : String(value));
    }
  }

  function show(snapshot) {
    while (tables.firstChild) tables.removeChild(tables.firstChild);
    for (var name in snapshot) {
      if (!Object.prototype.hasOwnProperty.call(snapshot, name)) continue;
      var section = snapshot[name];
      if (section === null || typeof section !== 'object') continue;
      if (name !== 'custom') table(name, section);
      else for (var channel in section) if (Object.prototype.hasOwnProperty.call(section, channel)) table(channel, section[channel]);
    }
  }

  function time(date) {
    function two(n) {
      return (n < 10 ? '0' : '') + n;
    }
    return two(date.getHours()) + ':' + two(date.getMinutes()) + ':' + two(date.getSeconds());
  }

  function askForToken() {
    setStatus('This server requires a token: ');
    var input = add(status, 'input');
    input.setAttribute('aria-label', 'Token');
    var button = add(status, 'button', 'Sign in');
    button.onclick = function () {
      token = input.value.replace(/^\s+|\s+$/g, '');
      ask();
    };
  }

  function ask() {
    var request = new XMLHttpRequest();
    request.open('GET', 'api/metrics', true);
    request.timeout = TIMEOUT_MS;
    request.setRequestHeader('Accept', 'application/json');
    if (etag !== null) request.setRequestHeader('If-None-Match', etag);
    if (token !== null) request.setRequestHeader('Authorization', 'Bearer ' + token);
    request.onreadystatechange = function () {
      if (request.readyState !== 4) return;
      if (request.status === 401) return askForToken();
      var good = request.status === 200 || request.status === 304;
      if (request.status === 200) {
        try {
          show(JSON.parse(request.responseText));
          etag = request.getResponseHeader('ETag');
        } catch (error) {
          good = false;
        }
      }
      if (good) lastGood = new Date();
      wait = good ? EVERY_MS : Math.min(LONGEST_MS, wait * 2);
      root.setAttribute('data-legacy', good ? 'live' : 'stale');
      if (good) setStatus('Updated ' + time(lastGood) + '. Refreshes every ' + EVERY_MS / 1000 + ' seconds.');
      else setStatus((lastGood === null ? 'The server is not responding.' : 'The server is not responding. Showing values from ' + time(lastGood) + '.') + ' Retrying.');
      setTimeout(ask, wait);
    };
    request.send(null);
  }

  root.setAttribute('data-legacy', 'connecting');
  place.removeAttribute('hidden');
  place.appendChild(status);
  place.appendChild(tables);
  ask();
})();

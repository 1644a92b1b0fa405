# Homebrew formula: compiles the release. `brew install --build-from-source deploy/packages/tricast.rb`
class Tricast < Formula
  desc "Live metrics over WebSocket, Server-Sent Events and polling"
  homepage "https://tricast.example/"
  license "MIT"
  head "https://tricast.example/tricast.git", branch: "main"

  depends_on "rust" => :build

  def install
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"tricast", "completions")
    mkdir "man1"
    system bin/"tricast", "man", "--dir", "man1"
    man1.install Dir["man1/*"]
  end

  service do
    run [opt_bin/"tricast", "--data-dir", var/"lib/tricast"]
    keep_alive true
    log_path var/"log/tricast.log"
    error_log_path var/"log/tricast.log"
  end

  test do
    port = free_port
    pid = spawn bin/"tricast", "--listen", "127.0.0.1:#{port}"
    sleep 2
    assert_match "ok", shell_output("curl -s http://127.0.0.1:#{port}/healthz")
  ensure
    Process.kill("TERM", pid)
  end
end

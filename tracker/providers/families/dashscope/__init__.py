"""The provider `dashscope`: video and image routes of DashScope."""
